//! `cargo xtask vm`: the smoke test on a second kernel, Debian's, with cgroup v2 alone, in an emulated machine.
//!
//! The packages of the kernel and of AppArmor are downloaded and unpacked below `target/vm`, never installed. The machine's disk is one
//! archive of the five programs, busybox and the scripts of `tests/vm`; what they print is what is judged.

use crate::{
    build::{self, BuildArgs},
    command::{root, run as run_command},
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Emulated, the test takes a minute on two idle cores; whatever hangs is ended after this.
const TIMEOUT_S: &str = "600";

/// Single modules that the test needs, and folders of which it needs those of nftables and its connection tracking. The
/// kernel asks for them by itself. Whatever else it needs is in Debian's kernel itself.
const MODULES: [&str; 6] = [
    "kernel/fs/overlayfs/overlay.ko",
    "kernel/drivers/net/veth.ko",
    "kernel/lib/libcrc32c.ko",
    "kernel/net/ipv4/inet_diag.ko",
    "kernel/net/ipv4/tcp_diag.ko",
    "kernel/net/ipv4/udp_diag.ko",
];
const MODULE_FOLDERS: [&str; 3] = [
    "kernel/net/netfilter",
    "kernel/net/ipv4/netfilter",
    "kernel/net/ipv6/netfilter",
];

const PASSED: &str = "vm: passed";

pub(crate) fn run() -> Result<()> {
    let dist = build::run(&BuildArgs {
        dev: true,
        crash_points: false,
    })?;
    let folder = root().join("target/vm");
    let kernel = kernel(&folder)?;
    let apparmor = unpacked(&folder, "apparmor", "apparmor")?;
    let initial = initial_root(&folder, &dist, (&kernel, &apparmor))?;
    boot(&folder, &kernel, &initial)
}

/// The kernel's unpacked package: `boot/vmlinuz-*` and `lib/modules/*`.
fn kernel(folder: &Path) -> Result<PathBuf> {
    let depends = Command::new("apt-cache")
        .args(["depends", "linux-image-cloud-amd64"])
        .output()
        .context("apt-cache")?;
    let depends = String::from_utf8(depends.stdout)?;
    let package = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-") && *word != "linux-image-cloud-amd64")
        .context("no package of Debian's cloud kernel is known: run `apt-get update`")?;
    unpacked(folder, package, "kernel")
}

/// The files of a package, below a folder of this name.
fn unpacked(folder: &Path, package: &str, name: &str) -> Result<PathBuf> {
    let unpacked = folder.join(name);
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    fs::create_dir_all(folder)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", package]).current_dir(folder);
    run_command(download)?;
    let archive = only(folder, &format!("{package}_"))?;
    let staged = folder.join(format!("{name}.new"));
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&archive).arg(&staged);
    run_command(unpack)?;
    fs::rename(staged, &unpacked)?;
    Ok(unpacked)
}

/// What is in the folder under a name that begins so.
fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let begins = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(prefix);
    fs::read_dir(folder)?
        .filter_map(Result::ok)
        .find(begins)
        .map(|entry| entry.path())
        .with_context(|| format!("there is no {prefix}* in {}", folder.display()))
}

/// The initial root file system as a compressed archive.
fn initial_root(folder: &Path, dist: &Path, (kernel, apparmor): (&Path, &Path)) -> Result<PathBuf> {
    let tree = folder.join("root");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for name in ["bin", "dev", "proc", "sys", "run", "tmp", "etc", "opt", "newroot"] {
        fs::create_dir_all(tree.join(name))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let busybox = busybox.iter().find(|path| path.exists()).context("busybox")?;
    fs::copy(busybox, tree.join("bin/busybox"))?;
    for program in ["shoal", "shoald", "shoal-shim", "shoal-spawn", "shoal-net"] {
        let (from, to) = (dist.join(program), tree.join("opt").join(program));
        copy_libraries(&from, &tree)?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&to).arg(&from);
        run_command(strip)?;
    }
    // The kernel runs this program for a module that it lacks.
    symlink("bin", tree.join("sbin"))?;
    // The daemon runs this one: AppArmor's profiles are compiled before they are loaded.
    let parser = apparmor.join("sbin/apparmor_parser");
    copy_libraries(&parser, &tree)?;
    fs::copy(parser, tree.join("bin/apparmor_parser"))?;
    copy_modules(kernel, &tree, busybox)?;
    let scripts = root().join("tests/vm");
    fs::copy(scripts.join("init"), tree.join("init"))?;
    fs::copy(scripts.join("smoke.sh"), tree.join("opt/smoke.sh"))?;
    let archive = folder.join("initial.gz");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio -o -H newc --quiet | gzip -1 > \"$0\""])
        .arg(&archive)
        .current_dir(&tree);
    run_command(pack)?;
    Ok(archive)
}

/// The modules with the tables by which they are found.
fn copy_modules(kernel: &Path, tree: &Path, busybox: &Path) -> Result<()> {
    let from = only(&kernel.join("lib/modules"), "")?;
    let version = from.file_name().context("a version")?.to_owned();
    let mut modules: Vec<PathBuf> = MODULES.iter().map(PathBuf::from).collect();
    for folder in MODULE_FOLDERS {
        for entry in fs::read_dir(from.join(folder))? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with("nf") {
                modules.push(Path::new(folder).join(name));
            }
        }
    }
    let to = tree.join("lib/modules").join(&version);
    for module in modules {
        let place = to.join(&module);
        fs::create_dir_all(place.parent().context("a module's folder")?)?;
        fs::copy(from.join(&module), place).with_context(|| module.display().to_string())?;
    }
    let mut tables = Command::new(busybox);
    tables.args(["depmod", "-b"]).arg(tree).arg(version);
    run_command(tables)
}

/// The shared libraries of a program, under their own paths; a static one has none.
fn copy_libraries(program: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("ldd").arg(program).output().context("ldd")?;
    let listed = String::from_utf8(listed.stdout)?;
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a library's folder")?)?;
        fs::copy(path, &to).with_context(|| format!("cannot copy {path}"))?;
    }
    // Where the distribution has merged `/usr`, the loader is named by its old path.
    if !tree.join("lib64").exists() {
        symlink("lib/x86_64-linux-gnu", tree.join("lib64"))?;
    }
    Ok(())
}

fn boot(folder: &Path, kernel: &Path, initial: &Path) -> Result<()> {
    let log = folder.join("console.log");
    let mut machine = Command::new("timeout");
    machine
        .args([
            TIMEOUT_S,
            "qemu-system-x86_64",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-accel",
            "tcg",
        ])
        .args([
            "-smp",
            "2",
            "-m",
            "2500",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"])
        .arg("-kernel")
        .arg(only(&kernel.join("boot"), "vmlinuz-")?)
        .arg("-initrd")
        .arg(initial)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?);
    run_command(machine)?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let mut lines = said.lines().map(|line| line.trim_end_matches('\r'));
    for line in lines.clone().filter(|line| line.contains(": ")) {
        println!("{line}");
    }
    ensure!(!said.is_empty(), "the machine said nothing");
    if lines.any(|line| line == PASSED) {
        return Ok(());
    }
    bail!("the smoke test did not pass: {} has all of it", log.display())
}
