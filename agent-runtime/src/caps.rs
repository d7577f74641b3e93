//! Linux capabilities as a bit set, and Docker's rule for turning `cap_add` and `cap_drop` into one.
//!
//! Used by the OCI spec (what the process gets) and by the seccomp profile (what that allows it to
//! call). Pure: which capabilities the kernel knows is an argument.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Every capability by its number in `include/uapi/linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One capability.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_SYS_ADMIN`, which much of the seccomp profile depends on.
    pub const SYS_ADMIN: Self = Self(21);

    /// Reads a name as Docker does: any case, with or without `CAP_`.
    pub fn parse(name: &str) -> Result<Self, CapabilityError> {
        let upper = name.trim().to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES
            .iter()
            .zip(0u8..)
            .find(|(known, _)| known.strip_prefix("CAP_") == Some(bare))
            .map(|(_, number)| Self(number))
            .ok_or_else(|| CapabilityError::Unknown {
                name: name.to_owned(),
            })
    }

    /// The kernel's number of it.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The name with its `CAP_` prefix.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities, in the kernel's own bit order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// What Docker gives a container that asks for nothing.
    pub const DOCKER_DEFAULT: Self = Self(0xa804_25fb);

    /// A set from the kernel's bit mask.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bounding set of the process whose `/proc/<pid>/status` this is: what it can hand on.
    pub fn bounding_of(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    /// The set as the kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether the set has this one.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// This set and one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0u8..64)
            .filter(move |number| self.0 & (1 << number) != 0)
            .take_while(|number| usize::from(*number) < NAMES.len())
            .map(Capability)
    }

    /// Docker's rule: `ALL` added means everything but what is dropped; `ALL` dropped means exactly
    /// what is added; otherwise the default set, less what is dropped, and what is added.
    pub fn resolve(add: &[String], drop: &[String], known: Self) -> Result<Self, CapabilityError> {
        let (added, add_all) = parse_list(add, known)?;
        let (dropped, drop_all) = parse_list(drop, known)?;
        Ok(if add_all {
            known.without(dropped)
        } else if drop_all {
            added
        } else {
            Self(Self::DOCKER_DEFAULT.0 & known.0)
                .without(dropped)
                .union(added)
        })
    }
}

fn parse_list(names: &[String], known: CapabilitySet) -> Result<(CapabilitySet, bool), CapabilityError> {
    let mut set = CapabilitySet::EMPTY;
    let mut all = false;
    for name in names {
        if name.trim().eq_ignore_ascii_case("ALL") {
            all = true;
            continue;
        }
        let capability = Capability::parse(name)?;
        if !known.contains(capability) {
            return Err(CapabilityError::NotAvailable {
                name: capability.name(),
            });
        }
        set = set.with(capability);
    }
    Ok((set, all))
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Why a list of capabilities was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CapabilityError {
    /// No capability has this name.
    #[error("unknown capability {name:?}; expected a name such as NET_ADMIN, or ALL")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The kernel is older than the capability, or the daemon runs without it.
    #[error("capability {name} is not available: this kernel or the daemon's own confinement lacks it")]
    NotAvailable {
        /// The full name.
        name: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_default_set_is_the_one_that_docker_shows() {
        let shown: Vec<_> = CapabilitySet::DOCKER_DEFAULT
            .iter()
            .map(Capability::name)
            .collect();
        assert_eq!(
            shown,
            [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SYS_CHROOT",
                "CAP_MKNOD",
                "CAP_AUDIT_WRITE",
                "CAP_SETFCAP"
            ]
        );
    }

    #[test]
    fn adding_and_dropping_follow_docker() {
        let known = CapabilitySet::from_bits(0x1ff_ffff_ffff);
        let check = |add: &[&str], drop: &[&str], expect: u64| {
            let set = CapabilitySet::resolve(&names(add), &names(drop), known).unwrap();
            assert_eq!(set.bits(), expect, "add {add:?} drop {drop:?}");
        };
        check(&[], &[], 0xa804_25fb);
        check(&["net_admin"], &[], 0xa804_35fb);
        check(&[], &["CAP_CHOWN"], 0xa804_25fa);
        check(&["ALL"], &[], 0x1ff_ffff_ffff);
        check(&["all"], &["chown"], 0x1ff_ffff_fffe);
        check(&[], &["ALL"], 0);
        check(&["CHOWN"], &["all"], 1);
        check(&["CHOWN"], &["CHOWN"], 0xa804_25fb);
    }

    #[test]
    fn refusals_name_the_capability() {
        let error = CapabilitySet::resolve(
            &names(&["NET_ADMINN"]),
            &[],
            CapabilitySet::from_bits(0x1ff_ffff_ffff),
        );
        assert!(error.unwrap_err().to_string().contains("NET_ADMINN"));
        let old = CapabilitySet::resolve(&names(&["BPF"]), &[], CapabilitySet::from_bits(0x3f_ffff_ffff));
        assert_eq!(old, Err(CapabilityError::NotAvailable { name: "CAP_BPF" }));
    }

    #[test]
    fn the_bounding_set_is_read_from_a_status_file() {
        let status = "Name:\tx\nCapEff:\t0\nCapBnd:\t000001fffeffffff\nCapAmb:\t0\n";
        let bounding = CapabilitySet::bounding_of(status).unwrap();
        assert!(!bounding.contains(Capability::parse("SYS_RESOURCE").unwrap()));
        assert_eq!(bounding.iter().count(), 40);
    }

    proptest! {
        #[test]
        fn any_status_file_is_read_or_not(status in "(Cap[A-Z][a-z]{2}:\t[0-9a-fx]{0,20}\n){0,4}") {
            if let Some(set) = CapabilitySet::bounding_of(&status) {
                prop_assert!(set.iter().count() <= 41);
            }
        }

        #[test]
        fn any_name_parses_or_is_refused(name in ".{0,40}") {
            if let Ok(capability) = Capability::parse(&name) {
                prop_assert_eq!(Capability::parse(capability.name()), Ok(capability));
            }
        }
    }
}
