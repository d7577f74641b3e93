//! Bounds on what travels, each with its reason.
//!
//! Both ends set them on every client and server (`max_decoding_message_size`), so that no message, and
//! no memory it asks for, is unbounded.

/// The newest version of the wire that this build speaks.
pub const API_VERSION: u32 = 1;

/// The oldest version of the wire that this build still answers.
pub const MIN_API_VERSION: u32 = 1;

/// Largest message either side takes: a user's transaction of 4 MiB (the limit that the machine enforces
/// with its number) and four times that for what frames it: a whole stack with its answer fits, a list
/// or an assignment is split below it.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Where senders of batches (lists, snapshots, assignments) start the next one: well below the maximum,
/// so that a last large object still fits.
pub const BATCH_BYTES: usize = 1 << 20;

/// Objects in one batch: as many small ones as keep the first answer quick.
pub const BATCH_OBJECTS: usize = 500;

/// Bytes in one chunk of a log, exec or archive stream: a pipe's worth.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Chunks buffered per stream and direction before its sender waits: 1 MiB, enough to fill a link's delay.
pub const STREAM_CHUNKS: usize = 16;
