//! Dockerfile instructions applied to an image's configuration, as `docker import --change` takes them.
//!
//! Pure. Instructions that need a build (`RUN`, `COPY`, `FROM`, …) are refused by name.

use std::time::Duration;

use super::config::{ImageConfig, ImageHealthcheck};

/// Why an instruction was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("change {change:?} is not usable: {problem}")]
pub struct ChangeError {
    /// The instruction, cut to 200 characters.
    pub change: String,
    pub problem: String,
}

/// Ports of one `EXPOSE` range; more is a mistake rather than a wish.
const MAX_PORT_RANGE: u16 = 1000;

/// Applies one instruction.
pub(crate) fn apply(config: &mut ImageConfig, change: &str) -> Result<(), ChangeError> {
    let (word, rest) = change
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((change.trim(), ""));
    let rest = rest.trim();
    let applied = if rest.is_empty() {
        Err("it has no value".to_owned())
    } else {
        instruction(config, &word.to_ascii_uppercase(), rest)
    };
    applied.map_err(|problem| ChangeError {
        change: change.chars().take(200).collect(),
        problem,
    })
}

fn instruction(config: &mut ImageConfig, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            for (name, value) in pairs(rest)? {
                let prefix = format!("{name}=");
                config.env.retain(|known| !known.starts_with(&prefix));
                config.env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for word in words(rest)? {
                config.exposed_ports.extend(ports(&word)?);
            }
        }
        "VOLUME" => config.volumes.extend(list(rest)?),
        "USER" => config.user = one(rest)?,
        "WORKDIR" => config.working_dir = workdir(&config.working_dir, &one(rest)?),
        "STOPSIGNAL" => config.stop_signal = one(rest)?,
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "SHELL" => config.shell = Some(json_list(rest).ok_or("expected a JSON list of strings")?),
        "ONBUILD" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        other => {
            return Err(format!(
                "instruction {other:?} is unknown or needs a build; known are CMD, ENTRYPOINT, ENV, EXPOSE, \
                 HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME and WORKDIR"
            ));
        }
    }
    Ok(())
}

/// The JSON form as it is, or the shell form.
fn command(rest: &str) -> Vec<String> {
    json_list(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

fn json_list(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[')
        .then(|| serde_json::from_str(rest).ok())
        .flatten()
}

fn list(rest: &str) -> Result<Vec<String>, String> {
    match json_list(rest) {
        Some(list) => Ok(list),
        None => words(rest),
    }
}

fn one(rest: &str) -> Result<String, String> {
    let mut words = words(rest)?;
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => Err("expected one value".to_owned()),
    }
}

/// `name=value name2="value 2"`, or the older `name value`.
fn pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(rest)?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or("expected name=value")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(format!("expected name=value, found {word:?}")),
        })
        .collect()
}

/// Words as a shell splits them, without substitution.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let escaped = chars.next().ok_or("it ends in a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(next),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// `80`, `80/udp` or `8000-8002/tcp` as Docker keeps them.
fn ports(word: &str) -> Result<Vec<String>, String> {
    let bad = || format!("{word:?} is not a port: expected for example 80, 53/udp or 8000-8010/tcp");
    let (numbers, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(bad());
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let parse = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad);
    let (first, last) = (parse(first)?, parse(last)?);
    if last < first || last - first > MAX_PORT_RANGE {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A relative directory is taken from the one before it.
fn workdir(before: &str, next: &str) -> String {
    let joined = std::path::Path::new("/").join(before).join(next);
    let mut clean = std::path::PathBuf::from("/");
    for component in joined.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean.display().to_string()
}

fn healthcheck(rest: &str) -> Result<ImageHealthcheck, String> {
    let mut check = ImageHealthcheck::default();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option
            .split_once(char::is_whitespace)
            .ok_or("expected CMD or NONE after options")?;
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("option --{option} has no value"))?;
        match name {
            "interval" => check.interval = Some(duration(value)?),
            "timeout" => check.timeout = Some(duration(value)?),
            "start-period" => check.start_period = Some(duration(value)?),
            "start-interval" => check.start_interval = Some(duration(value)?),
            "retries" => check.retries = Some(number(value)?),
            other => return Err(format!("option --{other} is unknown")),
        }
        rest = after.trim_start();
    }
    let (word, test) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = test.trim();
    check.test = match word.to_ascii_uppercase().as_str() {
        "NONE" if test.is_empty() => vec!["NONE".to_owned()],
        "CMD" if !test.is_empty() => match json_list(test) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), test.to_owned()],
        },
        _ => return Err("expected CMD and a command, or NONE".to_owned()),
    };
    Ok(check)
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_bad| format!("{text:?} is not a number"))
}

/// Go's way to write durations: `1m30s`, `1.5h`, `200ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a duration: expected for example 30s or 1m30s");
    let (mut rest, mut sum) = (text, 0.0_f64);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_bad| bad())?;
        let unit = &rest[digits..];
        let length = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let seconds = match &unit[..length] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        sum += number * seconds;
        rest = &unit[length..];
    }
    let duration = Duration::try_from_secs_f64(sum).map_err(|_bad| bad())?;
    // Docker refuses what its scheduler cannot keep.
    if duration < Duration::from_millis(1) {
        Err(format!("{text:?} is shorter than 1ms"))
    } else {
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> ImageConfig {
        let mut config = ImageConfig::default();
        for change in changes {
            apply(&mut config, change).expect(change);
        }
        config
    }

    #[test]
    fn instructions_do_what_they_do_in_a_dockerfile() {
        let config = applied(&[
            r#"CMD ["httpd", "-f"]"#,
            "entrypoint exec /init --all",
            r#"ENV A=1 B="two words" C=back\ slash"#,
            "ENV A new value",
            "EXPOSE 80 53/udp 8000-8002",
            r#"VOLUME ["/data", "/more"]"#,
            "VOLUME /third",
            "USER app:staff",
            "WORKDIR /srv",
            "WORKDIR sub/../www",
            "STOPSIGNAL SIGQUIT",
            r#"LABEL a.b=c "d e"=f"#,
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ]);
        assert_eq!(config.cmd, Some(vec!["httpd".into(), "-f".into()]));
        assert_eq!(
            config.entrypoint,
            Some(vec!["/bin/sh".into(), "-c".into(), "exec /init --all".into()])
        );
        assert_eq!(config.env, ["B=two words", "C=back slash", "A=new value"]);
        let ports: Vec<&str> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(config.volumes.len(), 3);
        assert_eq!(
            (config.user.as_str(), config.working_dir.as_str()),
            ("app:staff", "/srv/www")
        );
        assert_eq!(config.stop_signal, "SIGQUIT");
        assert_eq!(config.labels["d e"], "f");
        let check = config.healthcheck.expect("health check");
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
        assert_eq!(
            (check.interval, check.retries),
            (Some(Duration::from_secs(90)), Some(2))
        );
        assert_eq!(
            applied(&["HEALTHCHECK NONE"]).healthcheck.expect("check").test,
            ["NONE"]
        );
    }

    #[test]
    fn mistakes_are_named() {
        for bad in [
            "RUN make",
            "CMD",
            "",
            "ENV A",
            "ENV =x",
            "EXPOSE 99999",
            "EXPOSE 1-65535",
            "EXPOSE 80/icmp",
            "USER a b",
            r#"ENV A="open"#,
            "HEALTHCHECK curl",
            "HEALTHCHECK --interval=5 CMD x",
            "HEALTHCHECK --interval=1ns CMD x",
            "SHELL sh",
        ] {
            let error = apply(&mut ImageConfig::default(), bad).expect_err(bad);
            assert!(error.to_string().contains("not usable"), "{error}");
        }
    }
}
