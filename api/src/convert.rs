//! Between core's nouns and the messages of `v1`, both ways.
//!
//! Core to wire cannot fail; wire to core can, and names the field by its path. Everything is checked
//! here, so that what comes out of a conversion is a valid value of its type; whether a spec makes
//! sense is `shoal_core::validate`'s business.

mod batch;
mod cluster;
mod container;
mod dispatch;
mod error;
mod network;
mod node;
mod object;
mod service;
mod stack;
mod tables;
mod task;
#[cfg(test)]
mod tests;

pub use batch::snapshot_batches;
pub use dispatch::{AssignmentsJoiner, assignments_parts, reports_from_wire};
pub use error::{Details, HINT_RETRY, details_of, malformed_details, refusal_details, status};
pub use object::events_from_wire;

use std::time::Duration;

/// A message that is no value of the noun it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Malformed {
    /// The path of the field (`spec.task.container.image`).
    pub field: String,
    pub reason: String,
}

impl Malformed {
    pub fn new(field: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            field: field.into(),
            reason: reason.to_string(),
        }
    }

    /// The same fault seen from one message further out.
    #[must_use]
    pub(crate) fn within(mut self, field: &str) -> Self {
        self.field = if self.field.is_empty() {
            field.to_owned()
        } else {
            format!("{field}.{}", self.field)
        };
        self
    }
}

/// Both directions of an enum whose variants have the same names.
macro_rules! same_variants {
    ($core:ty, $wire:ty, $($variant:ident),+ $(,)?) => {
        impl From<$core> for $wire {
            fn from(value: $core) -> Self {
                match value {
                    $(<$core>::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<$wire> for $core {
            type Error = crate::convert::Malformed;

            fn try_from(value: $wire) -> Result<Self, Self::Error> {
                match value {
                    $(<$wire>::$variant => Ok(Self::$variant),)+
                    <$wire>::Unspecified => Err(crate::convert::Malformed::new("", "is not given")),
                }
            }
        }
    };
}
use same_variants;

/// An enum's number on the wire as the core's enum.
fn enumerated<Wire, Core>(number: i32, field: &str) -> Result<Core, Malformed>
where
    Wire: TryFrom<i32> + TryInto<Core, Error = Malformed>,
{
    let Ok(wire) = Wire::try_from(number) else {
        return Err(Malformed::new(
            field,
            format!("value {number} is not known: the sender is newer"),
        ));
    };
    wire.try_into().map_err(|e| e.within(field))
}

/// A message field that must be there.
fn required<Wire, Core>(value: Option<Wire>, field: &str) -> Result<Core, Malformed>
where
    Wire: TryInto<Core, Error = Malformed>,
{
    value
        .ok_or_else(|| Malformed::new(field, "is missing"))?
        .try_into()
        .map_err(|e| e.within(field))
}

/// A message field that may be missing.
fn optional<Wire, Core>(value: Option<Wire>, field: &str) -> Result<Option<Core>, Malformed>
where
    Wire: TryInto<Core, Error = Malformed>,
{
    value
        .map(|value| value.try_into().map_err(|e: Malformed| e.within(field)))
        .transpose()
}

/// A repeated field.
fn repeated<Wire, Core>(values: Vec<Wire>, field: &str) -> Result<Vec<Core>, Malformed>
where
    Wire: TryInto<Core, Error = Malformed>,
{
    values
        .into_iter()
        .enumerate()
        .map(|(at, value)| value.try_into().map_err(|e| e.within(&format!("{field}[{at}]"))))
        .collect()
}

/// Text in the form of its type: an id.
fn parsed<T: std::str::FromStr<Err: ToString>>(text: &str, field: &str) -> Result<T, Malformed> {
    text.parse().map_err(|e: T::Err| Malformed::new(field, e))
}

fn parsed_optional<T>(text: Option<&str>, field: &str) -> Result<Option<T>, Malformed>
where
    T: std::str::FromStr<Err: ToString>,
{
    text.map(|text| parsed(text, field)).transpose()
}

/// A list of texts in the form of their type: addresses, ranges.
fn parsed_list<T>(list: &[String], field: &str) -> Result<Vec<T>, Malformed>
where
    T: std::str::FromStr<Err: ToString>,
{
    let one = |(at, text): (usize, &String)| parsed(text, &format!("{field}[{at}]"));
    list.iter().enumerate().map(one).collect()
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Nanoseconds; a duration beyond 584 years, which no spec can ask for, becomes that.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
