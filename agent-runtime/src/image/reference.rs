//! Image references as Docker's users write them: `busybox`, `ghcr.io/owner/app:1.2`, `app@sha256:…`.
//!
//! Normalised as Docker does it (`docker.io/library/…:latest`); lists show the short spelling. Digests other than
//! sha256 are refused.

mod parse;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// A normalised reference: always a registry and a repository, and a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an image reference ({reason}): expected [registry[:port]/]name[:tag][@sha256:digest], \
     for example \"nginx:1.27\""
)]
pub struct ReferenceError {
    /// What was found, cut to 300 characters.
    pub text: String,
    /// What about it is wrong.
    pub reason: String,
}

impl Reference {
    /// The registry's host and port, `docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry, for example `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given or implied.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// As Docker shows it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The repository as Docker shows it, without tag and digest.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            ("docker.io", Some(short)) if !short.contains('/') => short.to_owned(),
            ("docker.io", _) => self.repository.clone(),
            (registry, _) => format!("{registry}/{}", self.repository),
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        format!("{tag}{digest}")
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason: String| ReferenceError {
            text: text.chars().take(300).collect(),
            reason,
        };
        // Docker refuses 64 hexadecimal digits as a name, because they read as an image id.
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse(
                "64 hexadecimal digits are an image id, not a name".to_owned(),
            ));
        }
        let parts = parse::parse(text).map_err(|reason| refuse(reason.to_owned()))?;
        let digest = parts.digest.map(str::parse).transpose();
        let digest: Option<Digest> =
            digest.map_err(|_refused| refuse("the digest is not sha256".to_owned()))?;
        Ok(Self {
            registry: parts.registry.to_owned(),
            repository: parts.repository,
            tag: parts.tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_shortens_like_docker() {
        let digest = Digest::of(b"x");
        for (input, full, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("owner/app", "docker.io/owner/app:latest", "owner/app:latest"),
            (
                "docker.io/library/nginx",
                "docker.io/library/nginx:latest",
                "nginx:latest",
            ),
            (
                "index.docker.io/nginx",
                "docker.io/library/nginx:latest",
                "nginx:latest",
            ),
            (
                "localhost:5000/a/b:t",
                "localhost:5000/a/b:t",
                "localhost:5000/a/b:t",
            ),
            ("ghcr.io/o/a", "ghcr.io/o/a:latest", "ghcr.io/o/a:latest"),
            (
                "docker.io/library/a/b:1",
                "docker.io/library/a/b:1",
                "library/a/b:1",
            ),
        ] {
            let reference: Reference = input.parse().expect(input);
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().expect(full), reference);
        }
        let pinned: Reference = format!("nginx:1@{digest}").parse().expect("pinned");
        assert_eq!(pinned.tag(), Some("1"));
        assert_eq!(pinned.digest(), Some(&digest));
        assert_eq!(
            pinned.with_digest(digest.clone()).familiar(),
            format!("nginx@{digest}")
        );
    }

    #[test]
    fn refuses_what_is_no_reference() {
        let id = "a".repeat(64);
        let sha512 = format!("a@sha512:{}", "0".repeat(128));
        let long = format!("a/{}", "b".repeat(300));
        for bad in [
            "",
            "UPPER",
            "a:b:c",
            "a b",
            "../a",
            "-a",
            "a@sha256:12",
            &id,
            &sha512,
            &long,
            "a:",
            "/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
