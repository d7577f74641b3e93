//! A further process of a running container, confined as its first one.
//! Called by the runtime's `exec` with what the container was made from; never asks the container itself.

use shoal_run_dir::process::FinalProcess;

use super::{SpecError, capabilities_of, command};
use crate::caps::CapabilitySet;
use crate::container::spec::ContainerSpec;
use crate::exec::ExecSpec;
use crate::image::ImageConfig;
use crate::user::ResolvedUser;

/// Everything that an exec'd process depends on.
#[derive(Debug, Clone, Copy)]
pub struct ExecInputs<'a> {
    pub exec: &'a ExecSpec,
    pub spec: &'a ContainerSpec,
    pub image: &'a ImageConfig,
    /// The container's first process, as it was built.
    pub first: &'a FinalProcess,
    /// `exec.user` resolved in the container with `spec.groups`; `None` where it names nobody.
    pub user: Option<&'a ResolvedUser>,
}

/// Builds it: the same filter, limits, sets and environment; only what `exec` names differs.
pub fn build_exec(inputs: &ExecInputs<'_>) -> Result<FinalProcess, SpecError> {
    let ExecInputs { exec, first, .. } = *inputs;
    if exec.args.is_empty() {
        return Err(SpecError::new("args", "expected a program to run, found nothing"));
    }
    for argument in &exec.args {
        command::no_nul("args", argument)?;
    }
    let mut process = FinalProcess {
        args: exec.args.clone(),
        env: env(inputs)?,
        init: false,
        terminal: exec.tty.is_some(),
        ..first.clone()
    };
    if let Some(workdir) = exec.workdir.as_deref().filter(|path| !path.is_empty()) {
        process.cwd = command::absolute("workdir", workdir)?;
    }
    if let Some(user) = inputs.user {
        let granted = CapabilitySet::from_bits(first.capabilities.bounding);
        process.uid = user.uid;
        process.gid = user.gid;
        process.groups.clone_from(&user.groups);
        process.capabilities = capabilities_of(user.uid, granted);
    }
    Ok(process)
}

fn env(inputs: &ExecInputs<'_>) -> Result<Vec<String>, SpecError> {
    let ExecInputs {
        exec,
        spec,
        image,
        first,
        user,
    } = *inputs;
    let mut all = first.env.clone();
    // The first process's HOME was derived from its user unless somebody had set it.
    let said = spec
        .env
        .iter()
        .any(|(name, value)| name == "HOME" && !value.is_empty())
        || image
            .env
            .iter()
            .any(|entry| entry.starts_with("HOME=") && entry != "HOME=");
    if let (Some(user), false) = (user, said) {
        command::set(&mut all, "HOME", &user.home);
    }
    let terminal_said = spec.env.iter().any(|(name, _)| name == "TERM")
        || image.env.iter().any(|entry| entry.starts_with("TERM="));
    if !terminal_said {
        all.retain(|entry| !entry.starts_with("TERM="));
        if exec.tty.is_some() {
            command::set(&mut all, "TERM", "xterm");
        }
    }
    for (index, (name, value)) in exec.env.iter().enumerate() {
        command::check_variable(index, name, value)?;
        command::set(&mut all, name, value);
    }
    Ok(all)
}
