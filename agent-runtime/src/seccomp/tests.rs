//! Tests of the profile, the compiler and the cache. Filters are run by an interpreter.
//! What the kernel makes of a loaded filter is seen by the comparison with Docker in `tests/runtime`.

use std::collections::BTreeMap;
use std::fs;

use libseccomp::ScmpSyscall;
use proptest::prelude::*;

use super::interpret::{Call, run};
use super::profile::{Arch, KernelVersion};
use super::*;
use crate::caps::{Capability, CapabilitySet};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const ALL: CapabilitySet = CapabilitySet::from_bits(0x1ff_ffff_ffff);
const NEW: KernelVersion = KernelVersion { major: 6, minor: 1 };

fn compiled(profile: &Profile, capabilities: CapabilitySet) -> Filter {
    compile::compile(profile, capabilities, Arch::X86_64, NEW).unwrap()
}

fn default_filter(capabilities: CapabilitySet) -> Filter {
    compiled(&docker_default::profile(), capabilities)
}

fn number(name: &str, arch: Arch) -> u32 {
    if let Some(number) = prologue::newer(name) {
        return number;
    }
    let call = ScmpSyscall::from_name_by_arch(name, prologue::library_arch(arch)).unwrap();
    u32::try_from(call.as_raw_syscall()).unwrap()
}

fn ask(filter: &Filter, arch: Arch, name: &str, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    run(
        filter,
        &Call {
            arch,
            number: number(name, arch),
            args: all,
        },
    )
}

/// What Docker 26.1.5 answered to the same calls, see `tests/golden/`.
#[test]
fn the_default_profile_answers_as_dockers() {
    let filter = default_filter(CapabilitySet::DOCKER_DEFAULT);
    let check = |name: &str, args: &[u64], expect: u32| {
        assert_eq!(ask(&filter, Arch::X86_64, name, args), expect, "{name} {args:?}");
    };
    for name in [
        "read",
        "openat2",
        "execve",
        "chroot",
        "ptrace",
        "seccomp",
        "arch_prctl",
        "mknod",
    ] {
        check(name, &[], ALLOW);
    }
    for name in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "io_uring_setup",
        "reboot",
        "swapon",
        "init_module",
        "kexec_load",
        "acct",
        "settimeofday",
        "userfaultfd",
        "open_by_handle_at",
        "pivot_root",
        "iopl",
        "quotactl",
        "move_mount",
        "fsopen",
        "mbind",
        "syslog",
    ] {
        check(name, &[], EPERM);
    }
    check("clone3", &[], ENOSYS);
    for flag in [
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        check("clone", &[flag], EPERM);
        check("clone", &[flag | 17], EPERM);
    }
    check("clone", &[17], ALLOW);
    check("clone", &[0x003d_0f00], ALLOW);
    check("clone", &[0x1_0000_0011], ALLOW);
    for good in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        check("personality", &[good], ALLOW);
    }
    for bad in [1, 0x4_0000, 0x1_0000_0000] {
        check("personality", &[bad], EPERM);
    }
    check("socket", &[40, 1, 0], EPERM);
    check("socket", &[2, 1, 0], ALLOW);
    check("socket", &[38, 5, 0], ALLOW);
}

#[test]
fn calls_newer_than_libseccomp_are_decided_and_newer_than_the_profile_do_not_exist() {
    let filter = default_filter(CapabilitySet::DOCKER_DEFAULT);
    for arch in [Arch::X86_64, Arch::X86] {
        for name in [
            "cachestat",
            "fchmodat2",
            "map_shadow_stack",
            "futex_wake",
            "futex_wait",
            "futex_requeue",
        ] {
            assert_eq!(ask(&filter, arch, name, &[]), ALLOW, "{name} {arch:?}");
        }
        for name in ["statmount", "mseal", "open_tree_attr"] {
            assert_eq!(ask(&filter, arch, name, &[]), ENOSYS, "{name} {arch:?}");
        }
    }
    let x32 = |number: u32| {
        let call = Call {
            arch: Arch::X32,
            number: number | 0x4000_0000,
            args: [0; 6],
        };
        run(&filter, &call)
    };
    assert_eq!(x32(452), ALLOW);
    // x32 has calls of its own up to 547; between the shared ones and those, runc too says EPERM.
    assert_eq!(x32(462), EPERM);
    assert_eq!(x32(548), ENOSYS);
    assert_eq!(x32(0), ALLOW);
    assert_eq!(x32(0x3fff_ffff), ENOSYS);
    let hidden = Call {
        arch: Arch::X86_64,
        number: u32::MAX,
        args: [0; 6],
    };
    assert_eq!(run(&filter, &hidden), ENOSYS);
}

#[test]
fn other_abis_are_covered_and_foreign_ones_killed() {
    let filter = default_filter(CapabilitySet::DOCKER_DEFAULT);
    assert_eq!(ask(&filter, Arch::X86, "read", &[]), ALLOW);
    assert_eq!(ask(&filter, Arch::X86, "mount", &[]), EPERM);
    assert_eq!(ask(&filter, Arch::X86, "clone", &[0x1000_0000]), EPERM);
    assert_eq!(ask(&filter, Arch::X86, "clone", &[17]), ALLOW);
    assert_eq!(ask(&filter, Arch::X86, "clone3", &[]), ENOSYS);
    let foreign = Call {
        arch: Arch::Aarch64,
        number: 0,
        args: [0; 6],
    };
    assert_eq!(run(&filter, &foreign), 0);
}

#[test]
fn capabilities_open_their_calls_and_no_others() {
    let with =
        |name: &str| default_filter(CapabilitySet::DOCKER_DEFAULT.with(Capability::parse(name).unwrap()));
    let admin = with("SYS_ADMIN");
    for (name, args) in [
        ("clone", 0x1000_0000),
        ("clone3", 0),
        ("mount", 0),
        ("setns", 0),
        ("bpf", 0),
    ] {
        assert_eq!(ask(&admin, Arch::X86_64, name, &[args]), ALLOW, "{name}");
    }
    assert_eq!(ask(&admin, Arch::X86_64, "init_module", &[]), EPERM);
    assert_eq!(ask(&with("SYS_TIME"), Arch::X86_64, "settimeofday", &[]), ALLOW);
    assert_eq!(ask(&with("BPF"), Arch::X86_64, "bpf", &[]), ALLOW);
    assert_eq!(ask(&with("BPF"), Arch::X86_64, "mount", &[]), EPERM);
    let none = default_filter(CapabilitySet::EMPTY);
    assert_eq!(ask(&none, Arch::X86_64, "chroot", &[]), EPERM);
    let all = default_filter(ALL);
    for name in [
        "reboot",
        "iopl",
        "kcmp",
        "vhangup",
        "syslog",
        "open_by_handle_at",
        "set_mempolicy",
    ] {
        assert_eq!(ask(&all, Arch::X86_64, name, &[]), ALLOW, "{name}");
    }
}

/// The resolved rules of running Docker 26.1.5 containers, reduced to (call, test, action).
#[test]
fn the_resolved_rules_are_dockers() {
    let golden = include_str!("../../tests/golden/docker-seccomp.json");
    let golden: BTreeMap<String, Vec<String>> = serde_json::from_str(golden).unwrap();
    for (set, capabilities) in [
        ("default", CapabilitySet::DOCKER_DEFAULT),
        ("none", CapabilitySet::EMPTY),
        // Captured where the daemon had no CAP_SYS_RESOURCE; no rule depends on it.
        ("all", ALL),
    ] {
        let profile = docker_default::profile();
        let mut ours: Vec<String> = Vec::new();
        for rule in profile.rules_for(capabilities, Arch::X86_64, NEW) {
            let tests: Vec<String> = rule
                .args
                .iter()
                .map(|test| format!("{} {:?} {:#x}", test.index, test.compare, test.value))
                .collect();
            for name in &rule.names {
                ours.push(format!("{name} [{}] {:?}", tests.join(","), rule.action));
            }
        }
        ours.sort();
        ours.dedup();
        assert_eq!(ours, golden[set], "{set}");
    }
}

#[test]
fn old_kernels_and_other_machines_get_their_own_rules() {
    let profile = docker_default::profile();
    let names = |native: Arch, kernel: KernelVersion| -> Vec<String> {
        profile
            .rules_for(CapabilitySet::DOCKER_DEFAULT, native, kernel)
            .flat_map(|rule| rule.names.clone())
            .collect()
    };
    let has = |list: &[String], name: &str| list.iter().any(|known| known == name);
    let old = names(Arch::X86_64, KernelVersion { major: 4, minor: 7 });
    assert!(!has(&old, "ptrace") && has(&old, "arch_prctl"));
    let arm = names(Arch::Aarch64, NEW);
    assert!(has(&arm, "ptrace") && has(&arm, "arm_fadvise64_64") && !has(&arm, "arch_prctl"));
    assert_eq!(profile.architectures(Arch::Aarch64), [Arch::Aarch64, Arch::Arm]);
    let filter = compile::compile(&profile, CapabilitySet::DOCKER_DEFAULT, Arch::Aarch64, NEW).unwrap();
    assert!(filter.instructions() > 100);
}

const CUSTOM: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_MIPS", "subArchitectures": null}
    ],
    "syscalls": [
        {"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"name": "rmdir", "action": "SCMP_ACT_KILL_PROCESS", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mseal"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kill"], "action": "SCMP_ACT_LOG", "args": [
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}]},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "as the default"},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 255, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]
}"#;

#[test]
fn a_custom_profile_is_read_and_compiled() {
    let SeccompProfile::Custom(profile) = SeccompProfile::from_docker_json(CUSTOM.as_bytes()).unwrap() else {
        panic!("expected a custom profile");
    };
    let filter = compiled(&profile, CapabilitySet::DOCKER_DEFAULT);
    let check = |name: &str, args: &[u64], expect: u32| {
        assert_eq!(ask(&filter, Arch::X86_64, name, args), expect, "{name} {args:?}");
    };
    check("mkdir", &[], 0x0005_000d);
    check("rmdir", &[], 0x8000_0000);
    check("mseal", &[], EPERM);
    check("statmount", &[], ALLOW);
    check("kill", &[1, 9], 0x7ffc_0000);
    check("kill", &[1, 15], 0x7ffc_0000);
    check("kill", &[1, 10], ALLOW);
    check("read", &[], ALLOW);
    check("personality", &[0xf07], EPERM);
    check("personality", &[0xf08], ALLOW);
    let admin = compiled(&profile, CapabilitySet::EMPTY.with(Capability::SYS_ADMIN));
    assert_eq!(ask(&admin, Arch::X86_64, "rmdir", &[]), ALLOW);
}

#[test]
fn bad_profiles_are_refused_with_the_reason() {
    let check = |json: &str, reason: &str| {
        let error = SeccompProfile::from_docker_json(json.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{json}: {error}");
    };
    check("", "EOF");
    check("[]", "invalid");
    check(r#"{"defaultAction":"SCMP_ACT_NO"}"#, "not an action");
    check(r#"{"defaultAction":"SCMP_ACT_ALLOW","extra":1}"#, "unknown field");
    check(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "listener");
    check(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":9999}"#,
        "does not exist",
    );
    let rule = |rule: &str| format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#);
    check(&rule(r#"{"action":"SCMP_ACT_ALLOW"}"#), "name or names");
    check(
        &rule(r#"{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}"#),
        "name or names",
    );
    check(
        &rule(r#"{"name":"a","action":"SCMP_ACT_ALLOW","exclude":{}}"#),
        "unknown field",
    );
    check(
        &rule(r#"{"name":"a","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_X"]}}"#),
        "CAP_X",
    );
    check(
        &rule(r#"{"name":"a","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"four"}}"#),
        "kernel version",
    );
    check(
        &rule(r#"{"name":"a","action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#),
        "argument 6",
    );
    check(
        &rule(r#"{"name":"a","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"EQ"}]}"#),
        "operator",
    );
    check(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_MIPS"]}"#,
        "MIPS",
    );
}

#[test]
fn filters_are_kept_in_memory_and_on_disk_and_damage_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("seccomp");
    let fresh = || SeccompFilters::new(kept.clone(), NEW);
    let get = |filters: &SeccompFilters| {
        filters
            .filter(&SeccompProfile::Default, CapabilitySet::DOCKER_DEFAULT)
            .unwrap()
            .unwrap()
    };
    let filters = fresh();
    assert_eq!(filters.filter(&SeccompProfile::Unconfined, ALL).unwrap(), None);
    let first = get(&filters);
    assert_eq!(first.load_flags(), FLAG_SPEC_ALLOW);
    assert!(std::ptr::eq(first.program(), get(&filters).program()));
    let files: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1);
    let sound = fs::read(&files[0]).unwrap();
    assert_eq!(get(&fresh()), first);
    // Any single damage is found, and the file made anew.
    for at in [0, 9, 13, 20, 60, sound.len() - 1] {
        let mut bad = sound.clone();
        bad[at] ^= 1;
        fs::write(&files[0], &bad).unwrap();
        assert_eq!(get(&fresh()), first, "damage at {at}");
        assert_eq!(fs::read(&files[0]).unwrap(), sound, "damage at {at}");
    }
    fs::write(&files[0], &sound[..100]).unwrap();
    assert_eq!(get(&fresh()), first);
    // A directory that cannot be written costs time only.
    fs::write(directory.path().join("file"), "").unwrap();
    let nowhere = SeccompFilters::new(directory.path().join("file/below"), NEW);
    assert_eq!(get(&nowhere), first);
}

#[test]
fn kernel_releases_are_read() {
    let check = |release: &str, expect: Option<(u32, u32)>| {
        let found = KernelVersion::parse(release).map(|version| (version.major, version.minor));
        assert_eq!(found, expect, "{release}");
    };
    check("6.1.0-18-amd64", Some((6, 1)));
    check("6.18.44-fc-v595", Some((6, 18)));
    check("5.15", Some((5, 15)));
    check("4.8-rc1", Some((4, 8)));
    check("six.one", None);
    check("6", None);
    check("", None);
}

proptest! {
    #[test]
    fn any_release_is_a_version_or_not(release in ".{0,24}", major in any::<u32>(), minor in any::<u32>()) {
        let _either = KernelVersion::parse(&release);
        let text = format!("{major}.{minor}.{release}");
        prop_assert_eq!(KernelVersion::parse(&text), Some(KernelVersion { major, minor }));
    }

    #[test]
    fn any_bytes_are_a_profile_or_an_error(json in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = SeccompProfile::from_docker_json(&json).is_ok();
    }

    #[test]
    fn anything_shaped_like_a_profile_is_read_or_refused(
        action in "SCMP_ACT_(ALLOW|ERRNO|KILL|X)",
        name in "[a-z_]{0,6}",
        index in 0u32..8,
        op in "SCMP_CMP_(EQ|NE|MASKED_EQ|GT)",
        value in any::<u64>(),
        release in "[0-9.]{0,6}",
    ) {
        let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["{name}"],"action":"{action}",
            "args":[{{"index":{index},"value":{value},"op":"{op}"}}],"includes":{{"minKernel":"{release}"}}}}]}}"#);
        if let Ok(SeccompProfile::Custom(profile)) = SeccompProfile::from_docker_json(json.as_bytes()) {
            prop_assert!(index < 6 && !name.is_empty());
            prop_assert!(compile::compile(&profile, CapabilitySet::EMPTY, Arch::X86_64, NEW).is_ok());
        }
    }
}
