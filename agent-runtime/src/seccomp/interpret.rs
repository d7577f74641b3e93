//! A classic-BPF interpreter for tests: what a filter says to a call, without a kernel and without root.
//! Knows just the instructions that libseccomp and the prologue emit, and panics at any other.

use super::Filter;
use super::profile::Arch;

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) arch: Arch,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

fn audit(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 | Arch::X32 => 0xc000_003e,
        Arch::X86 => 0x4000_0003,
        Arch::Aarch64 => 0xc000_00b7,
        Arch::Arm => 0x4000_0028,
    }
}

fn word(call: &Call, offset: u32) -> u32 {
    let half = |value: u64, upper: bool| {
        let shifted = if upper {
            value >> 32
        } else {
            value & u64::from(u32::MAX)
        };
        u32::try_from(shifted).unwrap()
    };
    match offset {
        0 => call.number,
        4 => audit(call.arch),
        8 | 12 => 0,
        16..64 => half(call.args[(offset as usize - 16) / 8], offset % 8 == 4),
        _ => panic!("load outside of the call at {offset}"),
    }
}

/// Runs the program; the result is the kernel's `SECCOMP_RET_*` value.
pub(super) fn run(filter: &Filter, call: &Call) -> u32 {
    let program: Vec<(u16, u8, u8, u32)> = filter
        .program()
        .chunks_exact(Filter::INSTRUCTION)
        .map(|bytes| {
            let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
            let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            (code, bytes[2], bytes[3], k)
        })
        .collect();
    let mut at = 0;
    let mut accumulator = 0;
    loop {
        let (code, if_true, if_false, k) = program[at];
        at += 1;
        let condition = match code {
            0x20 => {
                accumulator = word(call, k);
                continue;
            }
            0x54 => {
                accumulator &= k;
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return k,
            0x15 => accumulator == k,
            0x25 => accumulator > k,
            0x35 => accumulator >= k,
            0x45 => accumulator & k != 0,
            other => panic!("instruction {other:#x} at {}", at - 1),
        };
        at += usize::from(if condition { if_true } else { if_false });
    }
}
