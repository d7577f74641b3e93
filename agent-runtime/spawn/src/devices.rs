//! The device rules of a container as a BPF program: what the devices controller was on cgroup v1.
//!
//! `libcgroups` has one behind a feature that brings libbpf, libelf and zlib as C libraries, and that silently does
//! nothing when off. The rules of a container are a denial of everything and a list of exceptions, which is a page of
//! instructions.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::failure::Failure;

/// What every container may do besides its own rules, as in Docker: make device files of any kind, and use the null
/// devices, terminals and tunnels.
const ALWAYS: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 12] = [
    (LinuxDeviceType::C, Some(1), Some(3), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(5), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(7), "rwm"),
    (LinuxDeviceType::C, Some(5), Some(0), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(9), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(8), "rwm"),
    (LinuxDeviceType::C, None, None, "m"),
    (LinuxDeviceType::B, None, None, "m"),
    (LinuxDeviceType::C, Some(5), Some(1), "rwm"),
    (LinuxDeviceType::C, Some(136), None, "rwm"),
    (LinuxDeviceType::C, Some(5), Some(2), "rwm"),
    (LinuxDeviceType::C, Some(10), Some(200), "rwm"),
];

/// Access bits of `struct bpf_cgroup_dev_ctx`.
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const EVERY_ACCESS: u32 = MKNOD | READ | WRITE;

const R0: u8 = 0;
const R1: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// A container's own rules and those of every container.
pub(crate) fn with_always(own: &[LinuxDeviceCgroup]) -> Vec<LinuxDeviceCgroup> {
    let always = ALWAYS.map(|(kind, major, minor, access)| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(major)
            .set_minor(minor)
            .set_access(Some(access.to_owned()));
        rule
    });
    own.iter().cloned().chain(always).collect()
}

/// `struct bpf_insn` in memory order.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") {
        source << 4 | destination
    } else {
        destination << 4 | source
    };
    let mut bytes = [code, registers, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..8].copy_from_slice(&immediate.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn load_word(to: u8, offset: i16) -> u64 {
    instruction(0x61, to, R1, offset, 0)
}

fn and(register: u8, mask: u32) -> u64 {
    instruction(0x54, register, 0, 0, mask)
}

fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbc, to, from, 0, 0)
}

fn unless_equal_skip(register: u8, value: u32, count: i16) -> u64 {
    instruction(0x55, register, 0, count, value)
}

fn answer(allowed: bool) -> [u64; 2] {
    [
        instruction(0xb7, R0, 0, 0, u32::from(allowed)),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// Compiles a denial of everything followed by exceptions. Other lists are refused: they would mean something else.
pub(crate) fn compile(rules: &[LinuxDeviceCgroup]) -> Result<Vec<u64>, Failure> {
    let mut program = vec![
        load_word(TYPE, 0),
        copy(ACCESS, TYPE),
        and(TYPE, 0xffff),
        instruction(0x74, ACCESS, 0, 0, 16),
        load_word(MAJOR, 4),
        load_word(MINOR, 8),
    ];
    for (index, rule) in rules.iter().enumerate() {
        if rule.allow() {
            append_exception(&mut program, rule)?;
        } else if index != 0
            || rule.major().is_some()
            || rule.minor().is_some()
            || access(rule)? != EVERY_ACCESS
        {
            return Err(Failure::runtime(
                "device rules must deny everything first and then allow exceptions",
            ));
        }
    }
    program.extend(answer(false));
    Ok(program)
}

fn append_exception(program: &mut Vec<u64>, rule: &LinuxDeviceCgroup) -> Result<(), Failure> {
    let mut tests: Vec<Vec<(Option<u64>, u8, u32)>> = Vec::new();
    match rule.typ().unwrap_or_default() {
        LinuxDeviceType::A => {}
        LinuxDeviceType::B => tests.push(vec![(None, TYPE, 1)]),
        LinuxDeviceType::C | LinuxDeviceType::U => tests.push(vec![(None, TYPE, 2)]),
        LinuxDeviceType::P => {
            return Err(Failure::runtime(
                "a device rule names a fifo, which is not a device",
            ));
        }
    }
    let allowed = access(rule)?;
    if allowed != EVERY_ACCESS {
        tests.push(vec![
            (Some(copy(R1, ACCESS)), R1, 0),
            (Some(and(R1, EVERY_ACCESS & !allowed)), R1, 0),
        ]);
    }
    for (register, number) in [(MAJOR, rule.major()), (MINOR, rule.minor())] {
        // A negative number is every number.
        if let Some(number) = number.and_then(|n| u32::try_from(n).ok()) {
            tests.push(vec![(None, register, number)]);
        }
    }
    // Compiled backwards, so that each test knows how many instructions its failure skips.
    let mut block: Vec<u64> = answer(true).to_vec();
    for test in tests.into_iter().rev() {
        let skip = i16::try_from(block.len()).unwrap_or(i16::MAX);
        let (_, register, value) = test[test.len() - 1];
        block.insert(0, unless_equal_skip(register, value, skip));
        for (before, ..) in test.into_iter().rev() {
            if let Some(before) = before {
                block.insert(0, before);
            }
        }
    }
    program.extend(block);
    Ok(())
}

fn access(rule: &LinuxDeviceCgroup) -> Result<u32, Failure> {
    let Some(letters) = rule.access() else {
        return Ok(EVERY_ACCESS);
    };
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => {
                return Err(Failure::runtime(format_args!(
                    "{letters:?} is not an access to a device: expected r, w, m"
                )));
            }
        };
    }
    Ok(bits)
}

#[cfg(test)]
mod tests;
