//! Netlink as the rest of the crate speaks it: batches of messages in one send, answers counted, dumps read whole.
//!
//! Knows headers and attributes, not what they mean: `nft`, `rtnl` and `conntrack` do. A socket belongs to the
//! namespace that its thread was in when it was opened, and stays there. The kernel works a request off within the
//! send itself, so that every answer is there when the send returns: nothing here ever waits.

mod attributes;
mod batch;
mod listener;
mod socket;

pub use attributes::{Attributes, attributes, u16_be, u16_ne, u32_be, u32_ne};
pub use batch::{Batch, Fill, Message};
pub use listener::{Heard, Listener};
pub use socket::{Failure, NetlinkError, Protocol, Socket};
