//! What the reader has to say: errors and warnings, each with its file, line, key and reason.
//!
//! A `Report` is filled while a file is read and handed to the caller sorted and without repetitions
//! (an alias makes the same line speak more than once).

use crate::tree::At;
use std::fmt;

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The stack is not what the file asks for and cannot be deployed.
    Error,
    /// Something the file asks for is not carried out; the rest is.
    Warning,
}

/// One message about one place in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The file's name as the caller gave it.
    pub file: String,
    /// Counted from 1; 0 when the message is about the file as a whole.
    pub line: u32,
    /// Counted from 1; 0 when the message is about the file as a whole.
    pub column: u32,
    /// The key (`services.web.build`), empty for what is no key.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// More messages than this help nobody; the rest is counted in a last one.
const MAX_MESSAGES: usize = 200;

#[derive(Debug, Default)]
pub(crate) struct Report {
    files: Vec<String>,
    messages: Vec<(At, Severity, String, String)>,
    left_out: usize,
    errors: bool,
}

impl Report {
    /// Gives a file its number.
    pub(crate) fn add_file(&mut self, name: &str) -> u16 {
        self.files.push(name.to_owned());
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    pub(crate) fn error(&mut self, at: At, path: &str, message: impl Into<String>) {
        self.errors = true;
        self.push(at, Severity::Error, path, message.into());
    }

    pub(crate) fn warn(&mut self, at: At, path: &str, message: impl Into<String>) {
        self.push(at, Severity::Warning, path, message.into());
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors
    }

    fn push(&mut self, at: At, severity: Severity, path: &str, message: String) {
        // Errors are kept before warnings: what stops the deploy must be seen.
        if self.messages.len() >= MAX_MESSAGES && severity == Severity::Warning
            || self.messages.len() >= 2 * MAX_MESSAGES
        {
            self.left_out += 1;
            return;
        }
        self.messages.push((at, severity, path.to_owned(), message));
    }

    /// The messages by file and line; with `strict`, warnings are errors.
    pub(crate) fn finish(mut self, strict: bool) -> Vec<Diagnostic> {
        self.messages.sort();
        self.messages
            .dedup_by(|a, b| a.0 == b.0 && a.1 == b.1 && a.3 == b.3);
        let files = &self.files;
        let mut out: Vec<_> = self
            .messages
            .into_iter()
            .map(|(at, severity, path, message)| Diagnostic {
                severity: if strict { Severity::Error } else { severity },
                file: files.get(usize::from(at.file)).cloned().unwrap_or_default(),
                line: at.line,
                column: at.column,
                path,
                message,
            })
            .collect();
        if self.left_out > 0 {
            out.push(Diagnostic {
                severity: Severity::Warning,
                file: files.first().cloned().unwrap_or_default(),
                line: 0,
                column: 0,
                path: String::new(),
                message: format!("{} further messages are left out", self.left_out),
            });
        }
        out
    }
}
