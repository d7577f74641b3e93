//! Loading and attaching the device filter of a cgroup v2.
//!
//! Called while a container is created; a filter that does not attach stops the creation.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Another filter further up keeps its say: all of them have to agree.
const BPF_F_ALLOW_MULTI: u32 = 2;
/// The license is asked for by helpers that this program does not call.
const LICENSE: &std::ffi::CStr = c"Apache-2.0";

/// The fields of `union bpf_attr` that `BPF_PROG_LOAD` reads; the kernel takes shorter ones than its own.
#[repr(C)]
struct LoadArguments {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
}

/// The fields of `union bpf_attr` that `BPF_PROG_ATTACH` reads.
#[repr(C)]
struct AttachArguments {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a device program and attaches it to a cgroup v2 directory. It stays for as long as the cgroup does.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    let load = LoadArguments {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
    };
    // SAFETY: the arguments, the instructions and the license live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const load,
            size_of::<LoadArguments>(),
        )
    };
    let number = i32::try_from(result).unwrap_or(-1);
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(number) };
    let attach = AttachArguments {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the arguments live across the call and name open descriptors.
    match unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attach,
            size_of::<AttachArguments>(),
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
