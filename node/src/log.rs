//! Logging of the daemon: lines on stderr, for a journal or a file.
//!
//! Set up once by `main`; nothing else in the daemon chooses where lines go.

use crate::config::NodeConfig;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// A bare level is about Shoal's own parts; what they are built on stays at warnings.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    let parts = [
        "shoald",
        "shoal_node",
        "shoal_manager",
        "shoal_worker",
        "shoal_agent_runtime",
        "shoal_overlay_net",
    ];
    let own = parts.map(|part| format!("{part}={level}")).join(",");
    format!("warn,{own}")
}

/// Starts logging; a second call changes nothing.
pub fn start(config: &NodeConfig) {
    begin(&config.log_level, config.log_json);
}

fn begin(level: &str, json: bool) {
    // Checked with the other settings.
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // What cannot be written would be complained of on the same stderr, by `eprintln!`, which then panics: a full
        // disk or a closed terminal is no reason to end.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let set = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    // A logger is there already in tests, which is as good.
    drop(set);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};

    /// Set for the process that logs to where nothing can be written.
    const UNWRITABLE: &str = "SHOAL_TEST_LOG_UNWRITABLE";

    #[test]
    fn every_part_that_logs_follows_the_level() {
        assert_eq!(
            directives("debug"),
            "warn,shoald=debug,shoal_node=debug,shoal_manager=debug,shoal_worker=debug,shoal_agent_runtime=debug,\
             shoal_overlay_net=debug"
        );
        assert_eq!(directives("shoal_worker=debug"), "shoal_worker=debug");
    }

    #[test]
    fn a_line_that_cannot_be_written_ends_nothing() {
        if std::env::var_os(UNWRITABLE).is_some() {
            begin("info", false);
            for _ in 0..3 {
                tracing::error!("this line is lost");
            }
            return;
        }
        let full = File::options().write(true).open("/dev/full").unwrap();
        let own = std::env::current_exe().unwrap();
        let ended = Command::new(own)
            // The harness would hold back what is written otherwise.
            .args([
                "--exact",
                "log::tests::a_line_that_cannot_be_written_ends_nothing",
                "--nocapture",
            ])
            .env(UNWRITABLE, "1")
            .stdout(Stdio::piped())
            .stderr(full)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    }
}
