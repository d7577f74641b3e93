//! From the rules that hold to the program that the kernel runs, by libseccomp.
//! Called by the cache only. Loads nothing into the kernel.

use std::io::{Read, Seek};
use std::sync::{Mutex, PoisonError};

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::MemfdFlags;

use super::profile::{Action, Arch, ArgTest, Compare, KernelVersion, Profile, Rule};
use super::prologue::{self, Prologue};
use super::{Filter, SeccompError};
use crate::caps::CapabilitySet;

/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;
/// libseccomp's attribute for arranging the checks as a binary tree: a third of the time to load and to run.
const BINARY_TREE: u32 = 2;
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// libseccomp finds out what the kernel can do on first use, into globals without a lock.
static LIBRARY: Mutex<()> = Mutex::new(());

/// Compiles what holds for one container. Takes tens of milliseconds: call it where blocking is allowed.
pub(super) fn compile(
    profile: &Profile,
    capabilities: CapabilitySet,
    native: Arch,
    kernel: KernelVersion,
) -> Result<Filter, SeccompError> {
    let _alone = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
    let architectures = profile.architectures(native);
    let mut context =
        ScmpFilterContext::new(action(profile.default_action)).map_err(failed("make a filter"))?;
    for arch in &architectures {
        context
            .add_arch(prologue::library_arch(*arch))
            .map_err(failed("add an architecture"))?;
    }
    context
        .set_ctl_optimize(BINARY_TREE)
        .map_err(failed("arrange the filter as a tree"))?;
    let mut prologue = Prologue::new(&architectures);
    for rule in profile.rules_for(capabilities, native, kernel) {
        add(&mut context, &mut prologue, profile, rule)?;
    }
    let mut program = prologue.program(refuses_newer(profile.default_action));
    program.append(&mut export(&context)?);
    let filter = Filter::new(program, profile.load_flags);
    if filter.instructions() > MAX_INSTRUCTIONS {
        return Err(SeccompError::TooLarge {
            found: filter.instructions(),
            limit: MAX_INSTRUCTIONS,
        });
    }
    Ok(filter)
}

/// Where the default lets calls through, or says ENOSYS already, newer calls need no answer of their own.
fn refuses_newer(default: Action) -> bool {
    match default {
        Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(ENOSYS) => false,
        Action::Errno(_) | Action::KillThread | Action::KillProcess | Action::Trap => true,
    }
}

fn add(
    context: &mut ScmpFilterContext,
    prologue: &mut Prologue,
    profile: &Profile,
    rule: &Rule,
) -> Result<(), SeccompError> {
    for name in &rule.names {
        prologue.knows(name);
        // libseccomp refuses a rule that says what the default says.
        if rule.action == profile.default_action {
            continue;
        }
        match ScmpSyscall::from_name(name) {
            Ok(syscall) => add_call(context, rule, name, syscall)?,
            Err(_unknown) => add_newer(prologue, rule, name)?,
        }
    }
    Ok(())
}

/// A call that libseccomp does not know; one that nobody knows is skipped, as Docker does: this kernel or
/// architecture does not have it.
fn add_newer(prologue: &mut Prologue, rule: &Rule, name: &str) -> Result<(), SeccompError> {
    let Some(number) = prologue::newer(name) else {
        return Ok(());
    };
    if !rule.args.is_empty() {
        return Err(SeccompError::Rule {
            syscall: name.to_owned(),
            reason: "its arguments can only be tested with a newer libseccomp than the installed one"
                .to_owned(),
        });
    }
    prologue.decide(number, rule.action);
    Ok(())
}

fn add_call(
    context: &mut ScmpFilterContext,
    rule: &Rule,
    name: &str,
    syscall: ScmpSyscall,
) -> Result<(), SeccompError> {
    let action = action(rule.action);
    let tests: Vec<ScmpArgCompare> = rule.args.iter().map(test).collect();
    let refused = |error: libseccomp::error::SeccompError| SeccompError::Rule {
        syscall: name.to_owned(),
        reason: error.to_string(),
    };
    // Two tests on one argument mean either, not both: runc's reading of Docker's profiles.
    let repeated = rule
        .args
        .iter()
        .enumerate()
        .any(|(at, one)| rule.args[..at].iter().any(|other| other.index == one.index));
    if repeated {
        for test in &tests {
            context
                .add_rule_conditional(action, syscall, &[*test])
                .map_err(refused)?;
        }
    } else if tests.is_empty() {
        context.add_rule(action, syscall).map_err(refused)?;
    } else {
        context
            .add_rule_conditional(action, syscall, &tests)
            .map_err(refused)?;
    }
    Ok(())
}

fn test(test: &ArgTest) -> ScmpArgCompare {
    let operator = match test.compare {
        Compare::Ne => ScmpCompareOp::NotEqual,
        Compare::Lt => ScmpCompareOp::Less,
        Compare::Le => ScmpCompareOp::LessOrEqual,
        Compare::Eq => ScmpCompareOp::Equal,
        Compare::Ge => ScmpCompareOp::GreaterEqual,
        Compare::Gt => ScmpCompareOp::Greater,
        Compare::MaskedEq { mask } => ScmpCompareOp::MaskedEqual(mask),
    };
    ScmpArgCompare::new(test.index, operator, test.value)
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::Errno(errno) => ScmpAction::Errno(i32::from(errno)),
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Trace(number) => ScmpAction::Trace(number),
        Action::Log => ScmpAction::Log,
    }
}

/// The default errno of an action that names none.
pub(super) const DEFAULT_ERRNO: u16 = EPERM;

fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, SeccompError> {
    let read_back = |source: std::io::Error| SeccompError::ReadBack { source };
    let memory =
        rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC).map_err(|errno| read_back(errno.into()))?;
    context.export_bpf(&memory).map_err(failed("write the program"))?;
    let mut file = std::fs::File::from(memory);
    file.rewind().map_err(read_back)?;
    let mut program = Vec::new();
    let bound = (2 * MAX_INSTRUCTIONS * Filter::INSTRUCTION) as u64;
    file.take(bound).read_to_end(&mut program).map_err(read_back)?;
    Ok(program)
}

fn failed(step: &'static str) -> impl Fn(libseccomp::error::SeccompError) -> SeccompError {
    move |source| SeccompError::Library { step, source }
}
