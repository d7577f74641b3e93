//! What goes in front of libseccomp's program: calls newer than the profile, and calls newer than libseccomp.
//!
//! A call above the last one that the profile knows fails with ENOSYS, as under runc: a program then falls back
//! to an older call, where EPERM would make it give up. A call that the profile names and the installed
//! libseccomp does not know yet is decided here, by the number that all architectures share since Linux 5.1.

use libseccomp::{ScmpArch, ScmpSyscall};

use super::profile::{Action, Arch};

/// System calls that libseccomp 2.5 does not know. Numbers of `include/uapi/asm-generic/unistd.h`.
const NEWER: [(&str, u32); 19] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

const X32_BIT: u32 = 0x4000_0000;
const ENOSYS: u32 = 38;

/// Offsets in `struct seccomp_data`.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;

/// Classic BPF operations, from `linux/bpf_common.h`.
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQ: u16 = 0x15;
pub(super) const JUMP_GT: u16 = 0x25;
pub(super) const JUMP_SET: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// The number of a call that libseccomp does not know.
pub(super) fn newer(name: &str) -> Option<u32> {
    NEWER
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// One architecture's part.
#[derive(Debug, Default)]
struct Block {
    decided: Vec<(u32, u32)>,
    last: Option<u32>,
}

/// Collects what the prologue has to say while the rules are added.
#[derive(Debug)]
pub(super) struct Prologue {
    blocks: Vec<(Arch, Block)>,
}

impl Prologue {
    pub(super) fn new(architectures: &[Arch]) -> Self {
        Self {
            blocks: architectures
                .iter()
                .map(|arch| (*arch, Block::default()))
                .collect(),
        }
    }

    /// The profile knows this call: it counts for the last number of each architecture that has it.
    pub(super) fn knows(&mut self, name: &str) {
        for (arch, block) in &mut self.blocks {
            let number = newer(name).or_else(|| number_of(name, *arch));
            block.last = block.last.max(number);
        }
    }

    /// Decides a call that libseccomp does not know; the first rule wins.
    pub(super) fn decide(&mut self, number: u32, action: Action) {
        for (_, block) in &mut self.blocks {
            if !block.decided.iter().any(|(known, _)| *known == number) {
                block.decided.push((number, action_value(action)));
            }
        }
    }

    /// The instructions; falls through to whatever follows. `refuse_newer`: calls above the last known one get
    /// ENOSYS.
    pub(super) fn program(&self, refuse_newer: bool) -> Vec<u8> {
        let mut program = Vec::new();
        for audit in [AUDIT_X86_64, AUDIT_X86, AUDIT_AARCH64, AUDIT_ARM] {
            let body = self.body(audit, refuse_newer);
            if body.is_empty() {
                continue;
            }
            // The other architectures step over the body; it is far shorter than the 255 that a jump reaches,
            // but a long jump needs no such promise.
            program.push(instruction(LOAD_WORD, 0, 0, OFFSET_ARCH));
            program.push(instruction(JUMP_EQ, 1, 0, audit));
            program.push(instruction(JUMP, 0, 0, count(&body)));
            program.extend(body);
        }
        program.concat()
    }

    fn body(&self, audit: u32, refuse_newer: bool) -> Vec<[u8; 8]> {
        let of = |wanted: Arch| {
            let block = self.blocks.iter().find(|(arch, _)| *arch == wanted);
            block.map_or_else(Vec::new, |(arch, block)| block.checks(*arch, refuse_newer))
        };
        let mut body = match audit {
            AUDIT_X86_64 => {
                let (native, x32) = (of(Arch::X86_64), of(Arch::X32));
                if native.is_empty() && x32.is_empty() {
                    return Vec::new();
                }
                // x32 has the same mark and a bit in the number. Its checks come second, over a jump.
                let mut both = vec![
                    instruction(JUMP_SET, 0, 1, X32_BIT),
                    instruction(JUMP, 0, 0, count(&native) + 1),
                ];
                both.extend(native);
                both.push(instruction(JUMP, 0, 0, count(&x32)));
                both.extend(x32);
                both
            }
            AUDIT_X86 => of(Arch::X86),
            AUDIT_AARCH64 => of(Arch::Aarch64),
            _ => of(Arch::Arm),
        };
        if !body.is_empty() {
            body.insert(0, instruction(LOAD_WORD, 0, 0, OFFSET_NR));
        }
        body
    }
}

impl Block {
    fn checks(&self, arch: Arch, refuse_newer: bool) -> Vec<[u8; 8]> {
        let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
        let mut checks = Vec::new();
        for (number, value) in &self.decided {
            checks.push(instruction(JUMP_EQ, 0, 1, number | bit));
            checks.push(instruction(RETURN, 0, 0, *value));
        }
        if let (Some(last), true) = (self.last, refuse_newer) {
            checks.push(instruction(JUMP_GT, 0, 1, last | bit));
            checks.push(instruction(RETURN, 0, 0, RET_ERRNO | ENOSYS));
        }
        checks
    }
}

const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
const AUDIT_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARM: u32 = 0x4000_0028;

const RET_ERRNO: u32 = 0x0005_0000;

/// What the kernel makes of an action (`SECCOMP_RET_*`).
pub(super) fn action_value(action: Action) -> u32 {
    match action {
        Action::Allow => 0x7fff_0000,
        Action::Errno(errno) => RET_ERRNO | u32::from(errno),
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
        Action::Log => 0x7ffc_0000,
    }
}

/// The architecture's own number, if it has the call. libseccomp gives calls that exist elsewhere negative
/// numbers, and those of x32 with the bit set.
fn number_of(name: &str, arch: Arch) -> Option<u32> {
    let raw = ScmpSyscall::from_name_by_arch(name, library_arch(arch))
        .ok()?
        .as_raw_syscall();
    u32::try_from(raw).ok().map(|number| number & !X32_BIT)
}

pub(super) fn library_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::X86_64 => ScmpArch::X8664,
        Arch::X86 => ScmpArch::X86,
        Arch::X32 => ScmpArch::X32,
        Arch::Aarch64 => ScmpArch::Aarch64,
        Arch::Arm => ScmpArch::Arm,
    }
}

fn instruction(code: u16, if_true: u8, if_false: u8, k: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&code.to_ne_bytes());
    bytes[2] = if_true;
    bytes[3] = if_false;
    bytes[4..].copy_from_slice(&k.to_ne_bytes());
    bytes
}

fn count(instructions: &[[u8; 8]]) -> u32 {
    u32::try_from(instructions.len()).unwrap_or(u32::MAX)
}
