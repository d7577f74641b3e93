//! A seccomp profile as data, and the choice of the rules that hold for one container.
//!
//! The shape follows what Docker's profiles can say: rules that depend on capabilities, architecture and
//! kernel, each naming system calls, tests on their arguments, and what happens.

use serde::Serialize;

use crate::caps::CapabilitySet;

/// Architectures that a filter can cover here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86 programs on a 64-bit kernel.
    X86,
    /// The x32 ABI.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM programs on a 64-bit kernel.
    Arm,
}

impl Arch {
    /// The architecture that this program was built for, if filters for it can be made.
    pub fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The name in the `arches` conditions of Docker's profiles.
    pub fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// What else runs on a machine of this architecture, as Docker's default profile has it.
    pub fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm => &[],
        }
    }
}

/// A kernel version as far as profiles compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads the start of a release such as `6.1.0-18-amd64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.trim().splitn(3, '.');
        let major = numbers.next()?.parse().ok()?;
        let rest = numbers.next()?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let minor = rest[..end].parse().ok()?;
        Some(Self { major, minor })
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It is made.
    Allow,
    /// It fails with this errno.
    Errno(u16),
    /// The thread dies.
    KillThread,
    /// The process dies.
    KillProcess,
    /// The process gets SIGSYS.
    Trap,
    /// A tracer is asked, with this number.
    Trace(u16),
    /// It is made and logged.
    Log,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Compare {
    /// Differs from the value.
    Ne,
    /// Below the value.
    Lt,
    /// At most the value.
    Le,
    /// The value.
    Eq,
    /// At least the value.
    Ge,
    /// Above the value.
    Gt,
    /// Equals the value once masked.
    MaskedEq {
        /// The bits that are looked at.
        mask: u64,
    },
}

/// A test on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ArgTest {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// How.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}

/// When a rule holds. Empty conditions always do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conditions {
    /// The container has all of these.
    pub with: CapabilitySet,
    /// The container has none of these.
    pub without: CapabilitySet,
    /// The machine is one of these (Docker's names); empty means any.
    pub arches: Vec<String>,
    /// The machine is none of these.
    pub not_arches: Vec<String>,
    /// The kernel is at least this one.
    pub min_kernel: Option<KernelVersion>,
}

impl Conditions {
    fn hold(&self, capabilities: CapabilitySet, native: Arch, kernel: KernelVersion) -> bool {
        let here = native.docker_name();
        self.with.without(capabilities) == CapabilitySet::EMPTY
            && self.without.without(capabilities) == self.without
            && (self.arches.is_empty() || self.arches.iter().any(|arch| arch == here))
            && !self.not_arches.iter().any(|arch| arch == here)
            && self.min_kernel.is_none_or(|least| kernel >= least)
    }
}

/// One rule: if all tests pass, the action is taken for each of these calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// System calls by name; names that this kernel has never heard of are skipped.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// Tests on arguments.
    pub args: Vec<ArgTest>,
    /// When the rule holds at all.
    pub conditions: Conditions,
}

/// Which architectures a filter covers besides the machine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum Coverage {
    /// Those that run on each machine, by the machine's own.
    ByMachine(Vec<(Arch, Vec<Arch>)>),
    /// Exactly these.
    List(Vec<Arch>),
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// What happens to calls that no rule names.
    pub default_action: Action,
    /// Architectures.
    pub(super) coverage: Coverage,
    /// Flags to load the filter with.
    pub load_flags: u32,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Profile {
    /// The rules that hold for one container.
    pub fn rules_for(
        &self,
        capabilities: CapabilitySet,
        native: Arch,
        kernel: KernelVersion,
    ) -> impl Iterator<Item = &Rule> {
        self.rules
            .iter()
            .filter(move |rule| rule.conditions.hold(capabilities, native, kernel))
    }

    /// The architectures that the filter covers, the machine's own first.
    pub fn architectures(&self, native: Arch) -> Vec<Arch> {
        let others: &[Arch] = match &self.coverage {
            Coverage::List(list) => list,
            Coverage::ByMachine(map) => map
                .iter()
                .find(|(machine, _)| *machine == native)
                .map_or(&[], |(_, others)| others),
        };
        let mut all = vec![native];
        for arch in others {
            if !all.contains(arch) {
                all.push(*arch);
            }
        }
        all
    }
}
