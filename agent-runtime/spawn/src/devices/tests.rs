//! The program is run by a small interpreter of the instructions that it uses, and loaded into the kernel.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

use std::fs;
use std::os::fd::AsFd;

use super::{compile, with_always};
use crate::sys;

fn rule(
    allow: bool,
    typ: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut builder = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(typ)
        .access(access);
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    builder.build().unwrap()
}

fn docker_like() -> Vec<LinuxDeviceCgroup> {
    use LinuxDeviceType::{A, B, C};
    vec![
        rule(false, A, None, None, "rwm"),
        rule(true, C, None, None, "m"),
        rule(true, B, None, None, "m"),
        rule(true, C, Some(1), Some(3), "rwm"),
        rule(true, C, Some(136), None, "rwm"),
        rule(true, C, Some(10), Some(200), "rw"),
    ]
}

fn run(program: &[u64], context: [u32; 3]) -> u64 {
    let mut registers = [0_u64; 6];
    let mut at = 0_usize;
    loop {
        let bytes = program[at].to_ne_bytes();
        let (destination, source) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
        let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
        let immediate = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        at += 1;
        match bytes[0] {
            0x61 => registers[destination] = u64::from(context[usize::try_from(offset).unwrap() / 4]),
            0x54 => registers[destination] &= u64::from(immediate),
            0x74 => registers[destination] >>= immediate,
            0xbc => registers[destination] = registers[source],
            0xb7 => registers[destination] = u64::from(immediate),
            0x55 if registers[destination] != u64::from(immediate) => at += usize::try_from(offset).unwrap(),
            0x55 => {}
            0x95 => return registers[0],
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn what_is_allowed_is_what_the_rules_say() {
    let program = compile(&docker_like()).unwrap();
    let (block, character) = (1_u32, 2_u32);
    let (m, r, w) = (1_u32, 2_u32, 4_u32);
    for (kind, access, major, minor, allowed) in [
        (character, r | w, 1, 3, 1),
        (character, r, 1, 4, 0),
        (character, m, 1, 4, 1),
        (character, m | r, 1, 4, 0),
        (block, m, 8, 0, 1),
        (block, r, 8, 0, 0),
        (character, r | w | m, 136, 77, 1),
        (block, r, 136, 77, 0),
        (character, r | w, 10, 200, 1),
        (character, r | w | m, 10, 200, 0),
        (character, w, 10, 201, 0),
    ] {
        assert_eq!(
            run(&program, [access << 16 | kind, major, minor]),
            allowed,
            "{kind} {access} {major}:{minor}"
        );
    }
    assert_eq!(run(&compile(&[]).unwrap(), [r << 16 | 2, 1, 3]), 0);
}

#[test]
fn every_container_has_terminals_and_may_make_device_files() {
    let program = compile(&with_always(&docker_like()[..1])).unwrap();
    let (m, r, w) = (1_u32, 2_u32, 4_u32);
    assert_eq!(run(&program, [(r | w) << 16 | 2, 136, 0]), 1);
    assert_eq!(run(&program, [m << 16 | 1, 8, 0]), 1);
    assert_eq!(run(&program, [r << 16 | 1, 8, 0]), 0);
}

#[test]
fn rules_that_are_not_exceptions_are_refused() {
    let mut rules = docker_like();
    rules.push(rule(false, LinuxDeviceType::C, Some(1), Some(5), "rwm"));
    assert!(compile(&rules).is_err());
}

/// In the kernel, on whatever cgroup v2 there is: the verifier takes the program, and a member of the cgroup opens
/// what it may and nothing else.
#[test]
fn the_kernel_enforces_it() {
    assert!(
        rustix::process::geteuid().is_root(),
        "loading a program needs root"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let v2 = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(4));
    let place = std::path::Path::new(v2.expect("a cgroup2 mount"))
        .join(format!("shoal-devices-{}", std::process::id()));
    fs::create_dir(&place).unwrap();
    let directory = fs::File::open(&place).unwrap();
    sys::attach_device_program(directory.as_fd(), &compile(&docker_like()).unwrap()).unwrap();
    let run = |script: &str| {
        let join = format!("echo $$ > {}/cgroup.procs && {script}", place.display());
        std::process::Command::new("sh")
            .args(["-c", &join])
            .status()
            .unwrap()
            .success()
    };
    assert!(run("true < /dev/null"));
    assert!(!run("true < /dev/zero"));
    fs::remove_dir(&place).unwrap();
}
