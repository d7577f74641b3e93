//! Which system calls a container may make: profiles, and the BPF programs made from them.
//!
//! A profile is data. For one (profile, capabilities, architecture) it is compiled once with libseccomp,
//! kept in memory and on disk, and handed as bytes to `shoal-spawn`, which loads it. `libcontainer` never
//! sees it: it gets the masked comparison of `clone` wrong and lets new user namespaces through.

mod cache;
mod compile;
mod docker_default;
mod docker_json;
mod profile;
mod prologue;

use std::fmt;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

pub use cache::SeccompFilters;
pub use profile::{Action, Arch, ArgTest, Compare, Conditions, KernelVersion, Profile, Rule};

/// `SECCOMP_FILTER_FLAG_LOG`: the kernel logs what the filter refuses.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: no speculation mitigation by force; what runc sets unless told otherwise.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// Docker's default profile, which a container gets unless it asks for another.
pub fn docker_default() -> &'static Profile {
    static PROFILE: LazyLock<Profile> = LazyLock::new(docker_default::profile);
    &PROFILE
}

/// What a container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompProfile {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter at all.
    Unconfined,
    /// A profile of the user's own.
    Custom(Arc<Profile>),
}

impl SeccompProfile {
    /// Reads a profile in Docker's JSON format.
    pub fn from_docker_json(json: &[u8]) -> Result<Self, SeccompError> {
        Ok(Self::Custom(Arc::new(docker_json::parse(json)?)))
    }
}

/// A compiled filter: an array of `struct sock_filter` in this machine's byte order.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    program: Arc<[u8]>,
    load_flags: u32,
}

impl Filter {
    /// The size of `struct sock_filter`.
    pub const INSTRUCTION: usize = 8;

    fn new(program: Vec<u8>, load_flags: u32) -> Self {
        Self {
            program: program.into(),
            load_flags,
        }
    }

    /// The program, to be loaded with `seccomp(SECCOMP_SET_MODE_FILTER)`.
    pub fn program(&self) -> &[u8] {
        &self.program
    }

    /// How many instructions it has; the kernel takes at most 4,096.
    pub fn instructions(&self) -> usize {
        self.program.len() / Self::INSTRUCTION
    }

    /// The flags to load it with.
    pub fn load_flags(&self) -> u32 {
        self.load_flags
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("instructions", &self.instructions())
            .field("load_flags", &self.load_flags)
            .finish()
    }
}

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// The JSON is not a profile.
    #[error("the seccomp profile is not valid: {reason}")]
    Json {
        /// What was expected, what was found.
        reason: String,
    },
    /// The profile cannot be turned into a filter.
    #[error("the seccomp rule for {syscall} cannot be compiled: {reason}")]
    Rule {
        /// The system call as named in the profile.
        syscall: String,
        /// What was expected, what was found.
        reason: String,
    },
    /// libseccomp refused.
    #[error("libseccomp failed to {step}")]
    Library {
        /// What was being done.
        step: &'static str,
        #[source]
        /// What it said.
        source: libseccomp::error::SeccompError,
    },
    /// The program could not be read back.
    #[error("the compiled seccomp program cannot be read back")]
    ReadBack {
        #[source]
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The program is larger than the kernel takes.
    #[error("the seccomp profile compiles to {found} instructions; the kernel takes at most {limit}")]
    TooLarge {
        /// Instructions of the program.
        found: usize,
        /// The kernel's bound.
        limit: usize,
    },
    /// This machine is of an architecture without a table here.
    #[error("seccomp filters are not built for this machine's architecture")]
    Architecture,
}

#[cfg(test)]
mod interpret;
#[cfg(test)]
mod tests;
