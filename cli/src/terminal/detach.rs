//! The keys that leave a program to itself: ctrl-p ctrl-q, as in Docker, or what the caller chose.
//!
//! What is typed is held back only while it may still become the sequence.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    /// Keys of the sequence that were typed last.
    typed: usize,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self {
            sequence: vec![control(b'p'), control(b'q')],
            typed: 0,
        }
    }
}

const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

impl FromStr for DetachKeys {
    type Err = String;

    /// `a,ctrl-x,…`
    fn from_str(text: &str) -> Result<Self, String> {
        let key = |key: &str| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => {
                Some(control(*letter))
            }
            Some(_) => None,
            None => match key.as_bytes() {
                [byte] if byte.is_ascii_graphic() => Some(*byte),
                _ => None,
            },
        };
        let sequence: Option<Vec<u8>> = text.split(',').map(key).collect();
        let sequence =
            sequence.ok_or_else(|| format!("expected keys such as ctrl-p,ctrl-q, found {text:?}"))?;
        Ok(Self { sequence, typed: 0 })
    }
}

impl DetachKeys {
    /// What of these bytes is the program's, and whether the sequence is complete.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte != self.sequence[self.typed] {
                // Another key: what was held back was not for us.
                passed.extend_from_slice(&self.sequence[..self.typed]);
                self.typed = 0;
            }
            if byte != self.sequence[self.typed] {
                passed.push(byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.sequence.len() {
                self.typed = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sequence_leaves() {
        for (typed, passed, leaves) in [
            (&["ls\r"][..], "ls\r", false),
            (&["\x10\x11"], "", true),
            (&["a\x10", "\x11b"], "a", true),
            (&["\x10x"], "\x10x", false),
            (&["\x10\x10\x11"], "\x10", true),
            (&["\x10"], "", false),
            (&["\x10", "\x03"], "\x10\x03", false),
        ] {
            let mut keys = DetachKeys::default();
            let (mut got, mut left) = (Vec::new(), false);
            for part in typed {
                let (data, now) = keys.pass(part.as_bytes());
                got.extend(data);
                left |= now;
            }
            assert_eq!(
                (String::from_utf8(got).unwrap().as_str(), left),
                (passed, leaves),
                "{typed:?}"
            );
        }
    }

    #[test]
    fn keys_are_named_as_in_docker() {
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(DetachKeys::default()));
        assert_eq!("a,ctrl-@".parse::<DetachKeys>().unwrap().sequence, [b'a', 0]);
        for text in ["", "ctrl-", "ctrl-P", "ab", "a,"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }
}
