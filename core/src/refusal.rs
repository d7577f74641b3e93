//! Why a user's request was refused: the one error type that requests end in.
//!
//! Made by `validate`, `resolve` and `request`; carried to the user unchanged by the shell. A refusal
//! says what was expected, what was found, and what to do next.

use std::fmt;

/// A request that changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefusalCode,
    /// The path of the offending field (`ports[0].published`), if one is to blame.
    pub field: Option<String>,
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Further faults found in the same request.
    pub faults: Vec<FieldFault>,
}

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldFault {
    /// Known, and not built yet; otherwise it is wrong.
    pub unsupported: bool,
    pub field: String,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    Invalid,
    NotFound,
    /// The name is taken.
    Conflict,
    /// The version that the update was made from is no longer the current one.
    Stale,
    /// Known, and not built yet.
    Unsupported,
    /// Larger than a stated limit.
    TooLarge,
    /// Something else must go first.
    InUse,
    /// No address, subnet or port is left to give.
    Exhausted,
}

impl Refusal {
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            field: None,
            message: message.into(),
            hint: None,
            faults: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The refusal for a spec with these faults; the first one leads.
    pub fn of_faults(mut faults: Vec<FieldFault>) -> Option<Self> {
        if faults.is_empty() {
            return None;
        }
        let first = faults.remove(0);
        let code = if first.unsupported {
            RefusalCode::Unsupported
        } else {
            RefusalCode::Invalid
        };
        let mut refusal = Self::new(code, first.message).with_field(first.field);
        refusal.faults = faults;
        Some(refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        for fault in &self.faults {
            write!(f, "; {}: {}", fault.field, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_fault_with_its_field() {
        let fault = |field: &str, unsupported| FieldFault {
            unsupported,
            field: field.to_owned(),
            message: "is wrong".to_owned(),
        };
        let refusal = Refusal::of_faults(vec![fault("a", true), fault("b[0].c", false)]).unwrap();
        assert_eq!(refusal.code, RefusalCode::Unsupported);
        assert_eq!(refusal.to_string(), "a: is wrong; b[0].c: is wrong");
        assert_eq!(Refusal::of_faults(Vec::new()), None);
    }
}
