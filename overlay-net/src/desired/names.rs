//! Ids and names, each checked where it is made: what has the type is well formed.
//!
//! Shared text: a copy costs a counter.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Not an id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Of a wrong length.
    #[error("{what} `{given}` has {length} characters, expected 1 to {most}")]
    Length {
        /// What it was to be.
        what: &'static str,
        /// It, cut short.
        given: String,
        /// Its length.
        length: usize,
        /// The most.
        most: usize,
    },
    /// With a character that it may not have.
    #[error("{what} `{given}` may not have the character {character:?}; expected {allowed}")]
    Character {
        /// What it was to be.
        what: &'static str,
        /// It.
        given: String,
        /// The first wrong one.
        character: char,
        /// What it may have.
        allowed: &'static str,
    },
    /// A name of a host with a part between dots that is too long, empty, or begins or ends with a hyphen.
    #[error(
        "the name `{given}` has the part `{label}`; each part has 1 to 63 characters and no hyphen at its ends"
    )]
    Label {
        /// The name.
        given: String,
        /// The part.
        label: String,
    },
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&'static str, &str) -> Result<(), NameError> = $check;
                check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

word!(
    /// The mark of one Shoal on a machine: eight hexadecimal digits, made of its data directory.
    Tag,
    "tag",
    |what, text| {
        length(what, text, 8)?;
        characters(what, text, "lower-case hexadecimal digits", |c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    }
);
word!(
    /// A network's id.
    NetworkId,
    "network id",
    |what, text| id(what, text)
);
word!(
    /// An endpoint's id.
    EndpointId,
    "endpoint id",
    |what, text| id(what, text)
);
word!(
    /// What tells groups apart: as long as two ids.
    GroupId,
    "group id",
    |what, text| {
        length(what, text, 160)?;
        characters(what, text, ID_OR_PATH, |c| plain(c) || c == '/')
    }
);
word!(
    /// A host name as it is asked for and answered: lower case, no dot at its end.
    Name,
    "name",
    |what, text| host_name(what, text)
);

const ID: &str = "lower-case letters, digits, hyphens";
const ID_OR_PATH: &str = "lower-case letters, digits, hyphens, slashes";

fn plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn id(what: &'static str, text: &str) -> Result<(), NameError> {
    length(what, text, 64)?;
    characters(what, text, ID, plain)
}

fn host_name(what: &'static str, text: &str) -> Result<(), NameError> {
    length(what, text, 253)?;
    let allowed = "lower-case letters, digits, hyphens, underscores, dots";
    characters(what, text, allowed, |c| plain(c) || c == '_' || c == '.')?;
    let wrong =
        |label: &&str| label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-');
    match text.split('.').find(wrong) {
        None => Ok(()),
        Some(label) => Err(NameError::Label {
            given: text.to_owned(),
            label: label.to_owned(),
        }),
    }
}

fn length(what: &'static str, text: &str, most: usize) -> Result<(), NameError> {
    let length = text.chars().count();
    if (1..=most).contains(&length) {
        return Ok(());
    }
    Err(NameError::Length {
        what,
        given: text.chars().take(40).collect(),
        length,
        most,
    })
}

fn characters(
    what: &'static str,
    text: &str,
    allowed: &'static str,
    fits: fn(char) -> bool,
) -> Result<(), NameError> {
    match text.chars().find(|c| !fits(*c)) {
        None => Ok(()),
        Some(character) => Err(NameError::Character {
            what,
            given: text.to_owned(),
            character,
            allowed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointId, Name, Tag};

    #[test]
    fn words_are_checked() {
        fn check<T: std::str::FromStr<Err = super::NameError>>(text: &str, wrong: &str) {
            match text.parse::<T>() {
                Ok(_) => assert_eq!(wrong, "", "{text}"),
                Err(error) => assert!(!wrong.is_empty() && error.to_string().contains(wrong), "{error}"),
            }
        }
        check::<Name>("web", "");
        check::<Name>("tasks.my_web-3", "");
        check::<Name>("Web", "'W'");
        check::<Name>("a..b", "the part ``");
        check::<Name>("-a.b", "the part `-a`");
        check::<Name>(&"a".repeat(64), "1 to 63");
        check::<Name>(&"a.".repeat(127), "254 characters");
        check::<Tag>("0123abcd", "");
        check::<Tag>("0123abcg", "'g'");
        check::<EndpointId>("", "0 characters");
        check::<EndpointId>("a/b", "'/'");
    }
}
