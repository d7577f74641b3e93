//! Limits: memory, cpu, pids, and the resource limits of each process.
//! A limit that this host cannot keep is refused here, never dropped silently.

use oci_spec::runtime as oci;
use shoal_run_dir::process::Rlimit;

use super::{Inputs, SpecError};
use crate::container::limits::Limits;

/// Docker refuses less; below it a container cannot even start.
const MIN_MEMORY: u64 = 6 << 20;
/// Docker's period for a quota, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// A hundredth of a cpu: the kernel's least quota of a millisecond per period.
const MIN_CPU_NANOS: u64 = 10_000_000;
const NANOS_PER_CPU: u64 = 1_000_000_000;

/// Docker's names of resource limits and the kernel's numbers.
const RLIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// The control group's part.
pub(super) fn all(
    inputs: &Inputs<'_>,
    devices: Vec<oci::LinuxDeviceCgroup>,
) -> Result<oci::LinuxResources, SpecError> {
    let mut resources = oci::LinuxResources::default();
    resources
        .set_devices(Some(devices))
        .set_memory(memory(inputs)?)
        .set_cpu(cpu(inputs)?)
        .set_pids(pids(inputs)?);
    Ok(resources)
}

fn memory(inputs: &Inputs<'_>) -> Result<Option<oci::LinuxMemory>, SpecError> {
    let limits = &inputs.spec.limits;
    let wanted_swap = limits.memory_swap.filter(|swap| *swap != 0);
    let Some(limit) = limits.memory.filter(|limit| *limit != 0) else {
        return match wanted_swap {
            Some(swap) if swap > 0 => Err(SpecError::new(
                "limits.memory_swap",
                "a limit of memory and swap together needs limits.memory too",
            )),
            _ => Ok(None),
        };
    };
    if limit < MIN_MEMORY {
        return Err(SpecError::new(
            "limits.memory",
            format!("expected at least {MIN_MEMORY} bytes (6 MiB), found {limit}"),
        ));
    }
    need_controller(inputs, "limits.memory", "memory")?;
    let limit = i64::try_from(limit)
        .map_err(|_too_large| SpecError::new("limits.memory", "expected less than 8 EiB"))?;
    let mut memory = oci::LinuxMemory::default();
    memory
        .set_limit(Some(limit))
        .set_swap(swap(inputs, limit, wanted_swap)?);
    Ok(Some(memory))
}

/// Memory and swap together: as asked; twice the memory where nothing was; unlimited where the kernel cannot.
fn swap(inputs: &Inputs<'_>, limit: i64, wanted: Option<i64>) -> Result<Option<i64>, SpecError> {
    match wanted {
        Some(swap) if swap < -1 => Err(SpecError::new(
            "limits.memory_swap",
            format!("expected -1 (unlimited) or a number of bytes, found {swap}"),
        )),
        Some(swap) if swap >= 0 && swap < limit => Err(SpecError::new(
            "limits.memory_swap",
            format!(
                "it counts memory and swap together: expected at least limits.memory ({limit}), found {swap}"
            ),
        )),
        Some(swap) if swap >= 0 && !inputs.kernel.swap_limit => Err(SpecError::new(
            "limits.memory_swap",
            "this kernel does not limit swap (boot with swapaccount=1)",
        )),
        _ if !inputs.kernel.swap_limit => Ok(None),
        Some(swap) => Ok(Some(swap)),
        None => Ok(Some(limit.saturating_mul(2))),
    }
}

fn cpu(inputs: &Inputs<'_>) -> Result<Option<oci::LinuxCpu>, SpecError> {
    let Some(nanos) = inputs.spec.limits.cpu_nanos.filter(|nanos| *nanos != 0) else {
        return Ok(None);
    };
    let most = u64::from(inputs.host.cpus).saturating_mul(NANOS_PER_CPU);
    if !(MIN_CPU_NANOS..=most).contains(&nanos) {
        return Err(SpecError::new(
            "limits.cpu_nanos",
            format!(
                "expected from {MIN_CPU_NANOS} to {most} (this host has {} cpus), found {nanos}",
                inputs.host.cpus
            ),
        ));
    }
    need_controller(inputs, "limits.cpu_nanos", "cpu")?;
    // At most cpus x the period: far within the type.
    let quota = i64::try_from(nanos / (NANOS_PER_CPU / CPU_PERIOD))
        .map_err(|_too_large| SpecError::new("limits.cpu_nanos", "too large"))?;
    let mut cpu = oci::LinuxCpu::default();
    cpu.set_quota(Some(quota)).set_period(Some(CPU_PERIOD));
    Ok(Some(cpu))
}

fn pids(inputs: &Inputs<'_>) -> Result<Option<oci::LinuxPids>, SpecError> {
    let Some(limit) = inputs.spec.limits.pids.filter(|limit| *limit != 0) else {
        return Ok(None);
    };
    need_controller(inputs, "limits.pids", "pids")?;
    let limit = i64::try_from(limit)
        .map_err(|_too_large| SpecError::new("limits.pids", format!("{limit} is too large")))?;
    let mut pids = oci::LinuxPids::default();
    pids.set_limit(limit);
    Ok(Some(pids))
}

fn need_controller(inputs: &Inputs<'_>, field: &str, controller: &str) -> Result<(), SpecError> {
    if inputs.host.cgroups.has(controller) {
        return Ok(());
    }
    Err(SpecError::new(
        field,
        format!(
            "this host has no {controller} controller mounted, so the limit cannot be kept; mount it or drop the limit"
        ),
    ))
}

/// The limits of each process, by the kernel's numbers.
pub(super) fn rlimits(limits: &Limits) -> Result<Vec<Rlimit>, SpecError> {
    let mut all: Vec<Rlimit> = Vec::new();
    for (index, wanted) in limits.ulimits.iter().enumerate() {
        let field = format!("limits.ulimits[{index}]");
        let Some((_, resource)) = RLIMITS.iter().find(|(name, _)| *name == wanted.name) else {
            return Err(SpecError::new(
                field,
                format!(
                    "{:?} is not a limit; expected one such as nofile, nproc or core",
                    wanted.name
                ),
            ));
        };
        if wanted.soft > wanted.hard {
            return Err(SpecError::new(
                field,
                format!(
                    "the soft limit {} is above the hard limit {}",
                    wanted.soft, wanted.hard
                ),
            ));
        }
        if all.iter().any(|known| known.resource == *resource) {
            return Err(SpecError::new(field, format!("{} is limited twice", wanted.name)));
        }
        all.push(Rlimit {
            resource: *resource,
            soft: wanted.soft,
            hard: wanted.hard,
        });
    }
    Ok(all)
}
