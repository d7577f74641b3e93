//! Seccomp profiles in Docker's JSON format, the one that `--security-opt seccomp=file` takes.
//!
//! Stricter than Docker in one way: a key that is not known is an error, because a misspelt condition would
//! silently widen what is allowed.

use serde::Deserialize;

use super::compile::DEFAULT_ERRNO;
use super::profile::{Action, Arch, ArgTest, Compare, Conditions, Coverage, KernelVersion, Profile, Rule};
use super::{FLAG_LOG, FLAG_SPEC_ALLOW, SeccompError};
use crate::caps::{Capability, CapabilitySet};

/// Docker's default profile is 12 kB.
const MAX_BYTES: usize = 1 << 20;
/// Far above any profile: each rule becomes several instructions, of which the kernel takes 4,096.
const MAX_RULES: usize = 4096;
const MAX_NAMES: usize = 1024;
const MAX_ARGUMENTS: usize = 6;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u16>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Machine>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Machine {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Call {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Argument>>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: u32,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads and checks a whole profile.
pub(super) fn parse(json: &[u8]) -> Result<Profile, SeccompError> {
    if json.len() > MAX_BYTES {
        return Err(invalid(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let document: Document = serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
    let calls = document.syscalls.unwrap_or_default();
    if calls.len() > MAX_RULES {
        return Err(invalid(format!("it has more than {MAX_RULES} rules")));
    }
    Ok(Profile {
        default_action: action(
            "defaultAction",
            &document.default_action,
            document.default_errno_ret,
        )?,
        coverage: coverage(document.architectures, document.arch_map)?,
        load_flags: flags(document.flags)?,
        rules: calls
            .into_iter()
            .enumerate()
            .map(|(index, call)| rule(index, call))
            .collect::<Result<_, _>>()?,
    })
}

fn rule(index: usize, call: Call) -> Result<Rule, SeccompError> {
    let field = format!("syscalls[{index}]");
    let names = match (
        call.name.filter(|name| !name.is_empty()),
        call.names.unwrap_or_default(),
    ) {
        (Some(name), names) if names.is_empty() => vec![name],
        (None, names) if !names.is_empty() => names,
        _ => return Err(invalid(format!("{field}: expected either name or names"))),
    };
    if names.len() > MAX_NAMES {
        return Err(invalid(format!("{field} has more than {MAX_NAMES} names")));
    }
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains('\0')) {
        return Err(invalid(format!(
            "{field}: {name:?} is not the name of a system call"
        )));
    }
    let args = call.args.unwrap_or_default();
    if args.len() > MAX_ARGUMENTS {
        return Err(invalid(format!(
            "{field} has more than {MAX_ARGUMENTS} arguments"
        )));
    }
    Ok(Rule {
        names,
        action: action(&field, &call.action, call.errno_ret)?,
        args: args
            .iter()
            .map(|argument| argument_test(&field, argument))
            .collect::<Result<_, _>>()?,
        conditions: conditions(
            &field,
            call.includes.unwrap_or_default(),
            call.excludes.unwrap_or_default(),
        )?,
    })
}

fn conditions(field: &str, includes: Filter, excludes: Filter) -> Result<Conditions, SeccompError> {
    if excludes.min_kernel.is_some() {
        return Err(invalid(format!("{field}.excludes.minKernel has no meaning")));
    }
    let min_kernel = match includes.min_kernel.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(
            KernelVersion::parse(&text)
                .ok_or_else(|| invalid(format!("{field}: {text:?} is not a kernel version such as 4.8")))?,
        ),
    };
    Ok(Conditions {
        with: capabilities(field, includes.caps)?,
        without: capabilities(field, excludes.caps)?,
        arches: includes.arches.unwrap_or_default(),
        not_arches: excludes.arches.unwrap_or_default(),
        min_kernel,
    })
}

fn capabilities(field: &str, names: Option<Vec<String>>) -> Result<CapabilitySet, SeccompError> {
    let mut set = CapabilitySet::EMPTY;
    for name in names.unwrap_or_default() {
        let one = Capability::parse(&name).map_err(|error| invalid(format!("{field}: {error}")))?;
        set = set.with(one);
    }
    Ok(set)
}

fn argument_test(field: &str, argument: &Argument) -> Result<ArgTest, SeccompError> {
    let index = argument.index;
    if index as usize >= MAX_ARGUMENTS {
        return Err(invalid(format!(
            "{field}: argument {index} does not exist, there are six from 0"
        )));
    }
    let (compare, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Compare::Ne, argument.value),
        "SCMP_CMP_LT" => (Compare::Lt, argument.value),
        "SCMP_CMP_LE" => (Compare::Le, argument.value),
        "SCMP_CMP_EQ" => (Compare::Eq, argument.value),
        "SCMP_CMP_GE" => (Compare::Ge, argument.value),
        "SCMP_CMP_GT" => (Compare::Gt, argument.value),
        // Here `value` is the mask, and `valueTwo` what is left of the argument under it.
        "SCMP_CMP_MASKED_EQ" => (
            Compare::MaskedEq { mask: argument.value },
            argument.value_two.unwrap_or(0),
        ),
        other => return Err(invalid(format!("{field}: {other:?} is not an operator"))),
    };
    Ok(ArgTest {
        index,
        compare,
        value,
    })
}

fn action(field: &str, name: &str, errno: Option<u16>) -> Result<Action, SeccompError> {
    let number = errno.unwrap_or(DEFAULT_ERRNO);
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" if number < 4096 => Action::Errno(number),
        "SCMP_ACT_ERRNO" => return Err(invalid(format!("{field}: errno {number} does not exist"))),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_TRACE" => Action::Trace(number),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => {
            return Err(invalid(format!(
                "{field}: SCMP_ACT_NOTIFY needs a listener, which is not built here"
            )));
        }
        other => return Err(invalid(format!("{field}: {other:?} is not an action"))),
    })
}

fn coverage(list: Option<Vec<String>>, map: Option<Vec<Machine>>) -> Result<Coverage, SeccompError> {
    let list = list.unwrap_or_default();
    let map = map.unwrap_or_default();
    if !list.is_empty() && !map.is_empty() {
        return Err(invalid("expected either architectures or archMap".to_owned()));
    }
    if map.is_empty() {
        let mut known = Vec::new();
        for name in &list {
            known.push(
                arch(name)?
                    .ok_or_else(|| invalid(format!("{name} is not an architecture of these machines")))?,
            );
        }
        return Ok(Coverage::List(known));
    }
    let mut machines = Vec::new();
    for machine in map {
        let mut others = Vec::new();
        for name in machine.sub_architectures.unwrap_or_default() {
            others.extend(arch(&name)?);
        }
        if let Some(own) = arch(&machine.architecture)? {
            machines.push((own, others));
        }
    }
    Ok(Coverage::ByMachine(machines))
}

/// An architecture that filters are made for here, or none for one that exists elsewhere.
fn arch(name: &str) -> Result<Option<Arch>, SeccompError> {
    Ok(match name {
        "SCMP_ARCH_X86_64" => Some(Arch::X86_64),
        "SCMP_ARCH_X86" => Some(Arch::X86),
        "SCMP_ARCH_X32" => Some(Arch::X32),
        "SCMP_ARCH_AARCH64" => Some(Arch::Aarch64),
        "SCMP_ARCH_ARM" => Some(Arch::Arm),
        other if other.starts_with("SCMP_ARCH_") => None,
        other => return Err(invalid(format!("{other:?} is not an architecture"))),
    })
}

fn flags(names: Option<Vec<String>>) -> Result<u32, SeccompError> {
    let Some(names) = names else {
        return Ok(FLAG_SPEC_ALLOW);
    };
    let mut flags = 0;
    for name in names {
        flags |= match name.as_str() {
            "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
            // The program that loads the filter has one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            other => return Err(invalid(format!("flag {other:?} is not supported"))),
        };
    }
    Ok(flags)
}

fn invalid(reason: String) -> SeccompError {
    SeccompError::Json { reason }
}
