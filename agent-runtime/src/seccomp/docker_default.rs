//! Docker's default profile, as facts in our own table.
//!
//! Compared against what Docker 26.1.5 gives a running container: with default capabilities, with none
//! and with all. The calls are grouped by what they are about; the condition of each group is beside it.

use super::FLAG_SPEC_ALLOW;
use super::profile::{Action, Arch, ArgTest, Compare, Conditions, Coverage, KernelVersion, Profile, Rule};
use crate::caps::{Capability, CapabilitySet};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const AF_VSOCK: u64 = 40;

/// `CLONE_NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWNS`: a clone with any of these
/// makes a namespace.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Personalities that change nothing dangerous: Linux, `UNAME26`, both with 32-bit addresses, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x2_0000, 0x8, 0x2_0008, 0xffff_ffff];

/// Allowed to every container.
const ALWAYS: [&str; 11] = [
    // Files by path.
    "access chdir chmod chown chown32 creat faccessat faccessat2 fchmodat fchmodat2 fchownat \
     fgetxattr flistxattr fremovexattr fsetxattr fstatat64 futimesat getcwd getxattr lchown \
     lchown32 lgetxattr link linkat listxattr llistxattr lremovexattr lsetxattr lstat \
     lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 \
     readlink readlinkat removexattr rename renameat renameat2 rmdir setxattr stat stat64 \
     statfs statfs64 statx symlink symlinkat truncate truncate64 umask unlink unlinkat utime \
     utimensat utimensat_time64 utimes",
    // Files by descriptor.
    "_llseek cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 \
     fallocate fanotify_mark fchdir fchmod fchown fchown32 fcntl fcntl64 fdatasync flock \
     fstat fstat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getdents getdents64 \
     inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy \
     io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl lseek \
     memfd_create memfd_secret pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 \
     read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee \
     vmsplice write writev",
    // Waiting for descriptors.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
     epoll_wait epoll_wait_old eventfd eventfd2 poll ppoll ppoll_time64 pselect6 \
     pselect6_time64 select signalfd signalfd4 timerfd_create timerfd_gettime \
     timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Memory.
    "brk madvise map_shadow_stack membarrier mincore mlock mlock2 mlockall mmap mmap2 mprotect \
     mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect \
     process_mrelease remap_file_pages",
    // Sockets.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
     recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall \
     socketpair",
    // Messages, semaphores and shared memory.
    "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list ipc \
     mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
     mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop \
     semtimedop semtimedop_time64 set_robust_list shmat shmctl shmdt shmget",
    // Signals.
    "kill pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending \
     rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill",
    // Ids and capabilities.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
     getpgid getpgrp getpid getppid getresgid getresgid32 getresuid getresuid32 getsid \
     gettid getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
     setgroups setgroups32 setpgid setregid setregid32 setresgid setresgid32 setresuid \
     setresuid32 setreuid setreuid32 setsid setuid setuid32",
    // Clocks and timers.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
     clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep \
     setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
     timer_settime timer_settime64 times",
    // Scheduling and limits.
    "getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 \
     sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
     sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
     sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield \
     setpriority setrlimit ugetrlimit",
    // Processes and threads.
    "execve execveat exit exit_group fork get_thread_area getrandom landlock_add_rule \
     landlock_create_ruleset landlock_restrict_self prctl rseq seccomp set_thread_area \
     set_tid_address sysinfo uname vfork wait4 waitid waitpid",
];

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    (
        "SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("SYS_TTY_CONFIG", "vhangup"),
    (
        "SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Allowed on some machines.
const ON_MACHINE: [(&[&str], &str); 6] = [
    (&["ppc64le"], "swapcontext sync_file_range2"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["s390", "s390x"],
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    ),
    (&["riscv64"], "riscv_flush_icache riscv_hwprobe"),
];

/// The whole profile.
pub(super) fn profile() -> Profile {
    let mut rules: Vec<Rule> = ALWAYS.iter().map(|names| allow(names)).collect();
    // Before 4.8 a traced process could step around its filter.
    rules.push(when(
        allow("process_vm_readv process_vm_writev ptrace"),
        Conditions {
            min_kernel: Some(KernelVersion { major: 4, minor: 8 }),
            ..Conditions::default()
        },
    ));
    // A virtual machine's socket reaches its host past every network namespace.
    rules.push(test(allow("socket"), 0, Compare::Ne, AF_VSOCK));
    for value in PERSONALITIES {
        rules.push(test(allow("personality"), 0, Compare::Eq, value));
    }
    for (arches, names) in ON_MACHINE {
        let conditions = Conditions {
            arches: arches.iter().map(|arch| (*arch).to_owned()).collect(),
            ..Conditions::default()
        };
        rules.push(when(allow(names), conditions));
    }
    for (capability, names) in WITH_CAPABILITY {
        let conditions = Conditions {
            with: set(capability),
            ..Conditions::default()
        };
        rules.push(when(allow(names), conditions));
    }
    rules.extend(clone_rules());
    Profile {
        default_action: Action::Errno(EPERM),
        coverage: Coverage::ByMachine(
            [Arch::X86_64, Arch::Aarch64]
                .map(|machine| (machine, machine.companions().to_vec()))
                .into(),
        ),
        load_flags: FLAG_SPEC_ALLOW,
        rules,
    }
}

/// Threads and processes may be made, namespaces may not. `clone3` hides its flags behind a pointer, which
/// a filter cannot follow: the C library is told that it does not exist and falls back to `clone`.
fn clone_rules() -> [Rule; 2] {
    let conditions = Conditions {
        without: CapabilitySet::EMPTY.with(Capability::SYS_ADMIN),
        ..Conditions::default()
    };
    let masked = Compare::MaskedEq {
        mask: NAMESPACE_FLAGS,
    };
    let mut refused = allow("clone3");
    refused.action = Action::Errno(ENOSYS);
    [
        when(test(allow("clone"), 0, masked, 0), conditions.clone()),
        when(refused, conditions),
    ]
}

fn allow(names: &str) -> Rule {
    Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        args: Vec::new(),
        conditions: Conditions::default(),
    }
}

fn when(mut rule: Rule, conditions: Conditions) -> Rule {
    rule.conditions = conditions;
    rule
}

fn test(mut rule: Rule, index: u32, compare: Compare, value: u64) -> Rule {
    rule.args.push(ArgTest {
        index,
        compare,
        value,
    });
    rule
}

fn set(capability: &str) -> CapabilitySet {
    // The names are this file's own, and a test checks each; a wrong one would be a set that nobody has.
    Capability::parse(capability).map_or(CapabilitySet::from_bits(u64::MAX), |one| {
        CapabilitySet::EMPTY.with(one)
    })
}
