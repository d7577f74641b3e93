//! How a command fails: what is said, and the exit code.
//!
//! 2 for a usage error, 1 for a failure, a program's own code for `exec`. A refusal of a manager keeps its
//! field, further faults and hint.

use crate::output::note;
use std::fmt;

/// Ends the program with this code and says nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// Flags that do not go together or make no sense: exit code 2.
#[derive(Clone, Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Something went wrong, and this is what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Hinted {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n{}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Hinted {}

pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

pub(crate) fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted {
        message: message.into(),
        hint: hint.into(),
    }
    .into()
}

/// The transport's own words say nothing; its deepest cause does.
pub(crate) fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What is printed to standard error, and the exit code.
pub(crate) fn report(error: &anyhow::Error) -> (Option<String>, u8) {
    if let Some(Exit(code)) = error.downcast_ref() {
        return (None, *code);
    }
    let code = if error.is::<Usage>() { 2 } else { 1 };
    let mut causes = error.chain().map(ToString::to_string);
    let mut text = causes.next().unwrap_or_default();
    for cause in causes {
        text.push_str(": ");
        text.push_str(&cause);
    }
    (Some(format!("shoal: {text}")), code)
}

/// The failures of a command that takes several names: the others are tried all the same, as with Docker. All
/// are said, and the last one is the command's own.
#[derive(Debug, Default)]
pub(crate) struct Failures(Option<anyhow::Error>);

impl Failures {
    pub(crate) fn add(&mut self, error: anyhow::Error) {
        if let Some(earlier) = self.0.replace(error)
            && let (Some(text), _) = report(&earlier)
        {
            note(&text);
        }
    }

    /// What came of one of the names, if anything did.
    pub(crate) fn sort<T>(&mut self, outcome: anyhow::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_the_commands_own() {
        let mut failures = Failures::default();
        assert_eq!(failures.sort(Ok(1)), Some(1));
        assert_eq!(failures.sort::<i32>(Err(usage("first"))), None);
        assert_eq!(failures.sort::<i32>(Err(hinted("second", ""))), None);
        assert_eq!(failures.sort(Ok(2)), Some(2));
        assert_eq!(report(&failures.end().unwrap_err()).1, 1);
        assert!(Failures::default().end().is_ok());
    }
    use anyhow::Context;

    #[test]
    fn codes_and_texts() {
        let failed: anyhow::Error = hinted("no daemon", "start one");
        assert_eq!(
            report(&failed),
            (Some("shoal: no daemon\nstart one".to_owned()), 1)
        );
        assert_eq!(report(&usage("x")), (Some("shoal: x".to_owned()), 2));
        assert_eq!(report(&Exit(17).into()), (None, 17));
        let chained = Err::<(), _>(std::io::Error::other("inner")).context("outer");
        assert_eq!(
            report(&chained.unwrap_err()),
            (Some("shoal: outer: inner".to_owned()), 1)
        );
    }
}
