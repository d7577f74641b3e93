//! Amounts of cpu, memory and processes: Compose's own keys and those of `deploy.resources`.
//!
//! Both may stand in a file if they say the same; where they differ neither is guessed at.

use super::Draft;
use crate::{
    keys,
    reader::{Field, Reader},
};
use shoal_core::model::{Bytes, CpuNanos, Limits, Resources};

type Given<'a, T> = Option<(T, Field<'a>)>;

/// Limits and reservations from one of the two places.
#[derive(Default)]
pub(super) struct Amounts<'a> {
    cpu_limit: Given<'a, CpuNanos>,
    memory_limit: Given<'a, Bytes>,
    /// A negative number and zero are no limit.
    pids_limit: Given<'a, i64>,
    cpu_reserved: Given<'a, CpuNanos>,
    memory_reserved: Given<'a, Bytes>,
}

/// Takes the keys of this file; says whether `key` was one of them.
pub(super) fn take<'a>(reader: &mut Reader<'_>, draft: &mut Draft<'a>, key: &str, field: &Field<'a>) -> bool {
    let amounts = &mut draft.amounts;
    match key {
        "cpus" => amounts.cpu_limit = with(reader.cpus(field), field),
        "mem_limit" => amounts.memory_limit = with(reader.bytes(field), field),
        "mem_reservation" => amounts.memory_reserved = with(reader.bytes(field), field),
        "pids_limit" => amounts.pids_limit = with(pids(reader, field), field),
        "shm_size" => draft.container.shm_size = reader.bytes(field),
        _ => return false,
    }
    true
}

/// Reads `deploy.resources`.
pub(super) fn resources<'a>(reader: &mut Reader<'_>, field: &Field<'a>) -> Amounts<'a> {
    let mut amounts = Amounts::default();
    for (part, inner) in reader.entries(field, keys::RESOURCES) {
        if part == "limits" {
            for (key, amount) in reader.entries(&inner, keys::LIMITS) {
                match key {
                    "cpus" => amounts.cpu_limit = with(reader.cpus(&amount), &amount),
                    "memory" => amounts.memory_limit = with(reader.bytes(&amount), &amount),
                    _ => amounts.pids_limit = with(pids(reader, &amount), &amount),
                }
            }
        } else {
            for (key, amount) in reader.entries(&inner, keys::RESERVATIONS) {
                match key {
                    "cpus" => amounts.cpu_reserved = with(reader.cpus(&amount), &amount),
                    _ => amounts.memory_reserved = with(reader.bytes(&amount), &amount),
                }
            }
        }
    }
    amounts
}

/// One answer from both places.
pub(super) fn settle(
    reader: &mut Reader<'_>,
    own: &Amounts<'_>,
    deploy: &Amounts<'_>,
) -> (Limits, Resources) {
    let cpu = agree(reader, own.cpu_limit.as_ref(), deploy.cpu_limit.as_ref());
    let memory = agree(reader, own.memory_limit.as_ref(), deploy.memory_limit.as_ref());
    let pids = agree(reader, own.pids_limit.as_ref(), deploy.pids_limit.as_ref());
    let memory_reserved = agree(
        reader,
        own.memory_reserved.as_ref(),
        deploy.memory_reserved.as_ref(),
    );
    let cpu_reserved = deploy.cpu_reserved.as_ref().map(|(cpu, _)| *cpu);
    // Zero is Compose's way to write "no bound".
    let limits = Limits {
        cpu: cpu.filter(|cpu| cpu.0 > 0),
        memory: memory.filter(|memory| memory.0 > 0),
        pids: pids
            .and_then(|pids| u64::try_from(pids).ok())
            .filter(|pids| *pids > 0),
    };
    let reservations = Resources {
        cpu: cpu_reserved.unwrap_or_default(),
        memory: memory_reserved.unwrap_or_default(),
    };
    if let (Some(limit), Some((reserved, field))) = (
        limits.memory,
        own.memory_reserved.as_ref().or(deploy.memory_reserved.as_ref()),
    ) && *reserved > limit
    {
        reader.error(
            field,
            format!("reserves {reserved}, more than its limit of {limit}"),
        );
    }
    (limits, reservations)
}

fn agree<T: Copy + PartialEq>(
    reader: &mut Reader<'_>,
    own: Option<&(T, Field<'_>)>,
    deploy: Option<&(T, Field<'_>)>,
) -> Option<T> {
    if let (Some((own, field)), Some((deploy, other))) = (own, deploy)
        && own != deploy
    {
        reader.error(
            field,
            format!("{} says something else; give one of them", other.path),
        );
    }
    own.or(deploy).map(|(amount, _)| *amount)
}

fn pids(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<i64> {
    reader.parsed(field, "a number of processes, or -1 for no limit")
}

fn with<'a, T>(amount: Option<T>, field: &Field<'a>) -> Given<'a, T> {
    amount.map(|amount| (amount, field.clone()))
}
