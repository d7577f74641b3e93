//! What a run has been through: how often each fault struck and each wait code was seen.
//!
//! A test sums them over many seeds and wants every one above zero: a fault that never strikes proves
//! nothing.

use shoal_core::model::WaitCode;
use std::collections::BTreeMap;

macro_rules! faults {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($name),* }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

faults! {
    MessageLost,
    MessageLate,
    MessageRepeated,
    Partition,
    OneWayPartition,
    MemberIsolated,
    MemberCrashed,
    UnsyncedLost,
    WriteTorn,
    DiskFull,
    DiskStalled,
    ClockJumped,
    WallClockJumped,
    MemberPaused,
    MemberSlow,
    MemberStopped,
    LeaderCrashed,
    WorkerRestarted,
    WorkerCut,
    SessionBroken,
    StaleProposal,
    SnapshotInstalled,
    LeadershipLost,
    MembershipChanged,
    TaskFailed,
    RestartedInPlace,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub faults: BTreeMap<Fault, u64>,
    pub waits: BTreeMap<WaitCode, u64>,
    /// Users' writes that were answered with success.
    pub acknowledged: u64,
    pub refused: u64,
    pub outcome_unknown: u64,
    /// Network tables of workers that were compared with the state.
    pub tables: u64,
}

impl Counters {
    pub(super) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn wait(&mut self, code: WaitCode) {
        *self.waits.entry(code).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (code, count) in &other.waits {
            *self.waits.entry(*code).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.outcome_unknown += other.outcome_unknown;
        self.tables += other.tables;
    }

    /// Faults that never struck.
    pub fn missing_faults(&self) -> Vec<Fault> {
        Fault::ALL
            .iter()
            .copied()
            .filter(|fault| !self.faults.contains_key(fault))
            .collect()
    }

    /// Wait codes that were never seen.
    pub fn missing_waits(&self) -> Vec<WaitCode> {
        WaitCode::ALL
            .iter()
            .copied()
            .filter(|code| !self.waits.contains_key(code))
            .collect()
    }
}
