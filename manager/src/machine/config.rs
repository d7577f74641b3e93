//! What a machine is started with, and every bound it keeps, each with its reason.
//!
//! Made by the shell and the simulator; never changed while the machine runs.

use super::bugs::Planted;
use shoal_core::model::IdGen;
use std::time::Duration;

/// Between two ticks; the shell calls `step(Input::Tick)` this often.
pub const TICK: Duration = Duration::from_millis(50);

/// Election timeouts are drawn from 500 to 1000 ms: long against a synced write and a round trip, short
/// enough that a lost leader is replaced within a second.
pub(super) const ELECTION_TICKS: usize = 10;
pub(super) const MAX_ELECTION_TICKS: usize = 20;

/// 100 ms: five heartbeats fit the shortest election timeout.
pub(super) const HEARTBEAT_TICKS: usize = 2;

/// One Raft append message: a follower far behind is sent parts that never hold up a heartbeat.
pub(super) const MAX_APPEND_BYTES: u64 = 1 << 20;

/// Raft append messages on their way to one follower.
pub(super) const MAX_APPENDS_IN_FLIGHT: usize = 64;

/// Entries proposed and not yet applied: enough to keep the disk busy while one is synced.
pub(super) const MAX_ENTRIES_IN_FLIGHT: usize = 256;

/// Their bytes: a few of the largest user transactions.
pub(super) const MAX_BYTES_IN_FLIGHT: usize = 16 << 20;

/// Users' requests that wait for room; more are told to come back.
pub(super) const MAX_REQUESTS_QUEUED: usize = 1024;

/// A user's transaction, encoded. Above it, the leader's other work would be held up noticeably.
pub const MAX_USER_ENTRY_BYTES: usize = 4 << 20;

/// One of the system's own entries, encoded; a larger plan is cut into several.
pub const MAX_SYSTEM_ENTRY_BYTES: usize = 512 << 10;

/// Changes in a user's transaction.
pub const MAX_USER_CHANGES: usize = 10_000;

/// Steps of one planning turn: about 5 ms, so that ticks and Raft messages come through in time.
const TURN_STEPS: usize = 2_000;

/// Turns within one call of `step`: what one turn plans, the next may build on (a task is created, then
/// placed), and all of it shares one sync.
pub(super) const TURNS_PER_STEP: usize = 8;

/// A step that comes this long after the last one means that the process did not run: nobody could be
/// heard meanwhile. Twenty missed ticks, and well below the three heartbeats that make a node down.
pub(super) const LOOP_GAP: Duration = Duration::from_secs(1);

/// How long a leader that stops waits for another to take over.
pub(super) const HANDOVER_PATIENCE: Duration = Duration::from_secs(1);

/// Entries kept behind a snapshot, so that a follower slightly behind needs no snapshot: so many at most, and half of the
/// bytes after which the next one is due.
pub(super) const ENTRIES_KEPT: u64 = 1_000;

/// A task in a snapshot, about: what a state is estimated by.
pub(super) const TASK_BYTES: usize = 512;

/// However large the state is, the log takes no more than so many times the bytes that it takes for a small one.
pub(super) const MOST_BYTES_FACTOR: usize = 4;

/// A learner that lacks no more entries than this may get a vote: one round trip at full load.
pub(super) const CAUGHT_UP_WITHIN: u64 = 100;

/// Digests remembered for comparison; a follower may be this many checks behind.
pub(super) const DIGESTS_KEPT: usize = 16;

/// What a machine is started with.
#[derive(Debug)]
pub struct MachineConfig {
    /// This member's Raft id, never 0, never reused.
    pub raft_id: u64,
    /// Seeds the election timeouts: the same seed gives the same timeouts.
    pub seed: u64,
    /// Mints the ids of what this member creates while it leads; seeded apart from every other's.
    pub ids: IdGen,
    /// A snapshot is made after this many entries.
    pub snapshot_every_entries: u64,
    /// Or after this many bytes of entries, for a small state. They are in memory, be there ever so little to do.
    pub snapshot_every_bytes: usize,
    /// Members compare the hash of their state every so many entries.
    pub digest_every: u64,
    /// Steps of one planning turn.
    pub turn_steps: usize,
    /// Where Raft's own log lines go.
    pub logger: slog::Logger,
    pub bugs: Planted,
}

impl MachineConfig {
    pub fn new(raft_id: u64, seed: u64, ids: IdGen) -> Self {
        Self {
            raft_id,
            seed,
            ids,
            snapshot_every_entries: 10_000,
            snapshot_every_bytes: 4 << 20,
            digest_every: 1024,
            turn_steps: TURN_STEPS,
            logger: slog::Logger::root(slog::Discard, slog::o!()),
            bugs: Planted::none(),
        }
    }
}
