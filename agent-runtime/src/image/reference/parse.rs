//! The grammar of an image reference, `[registry[:port]/]name[:tag][@digest]`, and Docker's completion of it.
//!
//! Called for every reference that comes in. By hand, although `oci-client` has a parser: that one keeps a compiled
//! regular expression of seven megabytes for as long as the daemon runs.

/// Docker Hub, which is meant where no registry is named, and its former name.
const HUB: &str = "docker.io";
const HUB_LEGACY: &str = "index.docker.io";
/// Where Docker Hub keeps the images without an owner.
const HUB_OFFICIAL: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// Bytes of a repository's name, as registries bound it.
const MAX_REPOSITORY: usize = 255;
/// Bytes of a tag.
const MAX_TAG: usize = 128;

/// A reference taken apart and completed. The digest is as it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: String,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
}

/// Takes a reference apart, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Parts<'_>, &'static str> {
    if text.is_empty() {
        return Err("there is no name");
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    // A colon before a slash belongs to the registry's port.
    let (name, tag) = match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("the tag is not one");
    }
    let (registry, rest) = split_registry(name)?;
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("the name must be lowercase");
    }
    if !rest.split('/').all(is_component) {
        return Err("the name is not one");
    }
    let repository = if registry == HUB && !rest.contains('/') {
        format!("{HUB_OFFICIAL}/{rest}")
    } else {
        rest.to_owned()
    };
    if repository.len() > MAX_REPOSITORY {
        return Err("the name is longer than 255 characters");
    }
    let implied = digest.is_none().then_some(DEFAULT_TAG);
    Ok(Parts {
        registry,
        repository,
        tag: tag.or(implied),
        digest,
    })
}

/// The first part is a registry where it looks like a host: a dot, a port, or `localhost`.
fn split_registry(name: &str) -> Result<(&str, &str), &'static str> {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            if !is_host(host) {
                return Err("the registry is not a host");
            }
            Ok((if host == HUB_LEGACY { HUB } else { host }, rest))
        }
        _ => Ok((HUB, name)),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').all(label) && port.is_none_or(digits)
}

/// Runs of lowercase letters and digits, between them one dot, one or two underscores, or any number of hyphens.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bounded =
        |text: &[u8]| text.first().copied().is_some_and(plain) && text.last().copied().is_some_and(plain);
    let mut separators = text.as_bytes().split(|byte| plain(*byte));
    bounded(text.as_bytes())
        && separators
            .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    proptest! {
        /// What `oci-client` makes of it, except that names in capitals, registries with an underscore, and digests
        /// that are none are refused.
        #[test]
        fn says_what_the_library_says(text in "[abA0._:/-]{0,12}(:[aA0._-]{0,3})?(@sha256:0{63,65})?") {
            let theirs = oci_client::Reference::try_from(text.as_str()).ok();
            match (parse(&text), theirs) {
                (Ok(ours), Some(theirs)) => {
                    prop_assert_eq!(ours.registry, theirs.registry());
                    prop_assert_eq!(&ours.repository, theirs.repository());
                    prop_assert_eq!(ours.tag, theirs.tag());
                    prop_assert_eq!(ours.digest, theirs.digest());
                }
                (Ok(ours), None) => prop_assert!(ours.digest.is_some_and(|d| d.len() != 71), "{}", text),
                (Err(_), Some(theirs)) => prop_assert!(
                    theirs.repository().contains('A') || theirs.registry().contains(['_', '-']),
                    "{}", text
                ),
                (Err(_), None) => {}
            }
        }
    }
}
