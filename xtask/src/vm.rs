//! `cargo xtask vm`: the demo and a smoke test on a second kernel, Debian's, with cgroup v2 alone, in an emulated machine.
//!
//! The packages of the kernel and of AppArmor are downloaded and unpacked below `target/vm`, never installed. The machine's
//! disk is one archive of the five optimised programs, what the demo needs, busybox and the scripts of `tests/vm`; what
//! they print is what is judged.

use crate::{
    build::{self, BuildArgs},
    command::{root, run as run_command},
    image,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What it is to take at most, from the emulator's start to its end, to stay among the tests before every change. More is
/// said aloud and no failure: emulation is as slow as the machine that emulates.
const GOAL: Duration = Duration::from_secs(180);
/// When it is ended: something in it hangs.
const LONGEST: Duration = Duration::from_secs(600);

/// Where the machine has its part of this tree, which is laid out as it is here.
const TREE: &str = "opt/shoal";

const PROGRAMS: [&str; 5] = ["shoal", "shoald", "shoal-shim", "shoal-spawn", "shoal-net"];

/// Programs of which the demo asks what busybox does not do.
const DEMO_PROGRAMS: [&str; 4] = ["bash", "pgrep", "ps", "timeout"];

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
    let dist = build::run(&BuildArgs::default())?;
    let hello = image::demo()?;
    let folder = root().join("target/vm");
    let kernel = kernel(&folder)?;
    let apparmor = unpacked(&folder, "apparmor", "apparmor")?;
    let tree = folder.join("root");
    let busybox = empty_root(&tree)?;
    add_demo(&tree, &dist, &hello)?;
    add_apparmor(&tree, &apparmor)?;
    copy_modules(&kernel, &tree, &busybox)?;
    boot(&folder, &kernel, &packed(&folder, &tree)?)
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

/// Folders, busybox, which is given, and the scripts that it runs.
fn empty_root(tree: &Path) -> Result<PathBuf> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    for name in ["bin", "dev", "proc", "sys", "run", "tmp", "etc", "opt", "newroot"] {
        fs::create_dir_all(tree.join(name))?;
    }
    // The kernel runs the program for a module that it lacks from there.
    symlink("bin", tree.join("sbin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let busybox = busybox
        .into_iter()
        .find(|path| path.exists())
        .context("busybox")?;
    fs::copy(&busybox, tree.join("bin/busybox"))?;
    let scripts = root().join("tests/vm");
    fs::copy(scripts.join("init"), tree.join("init"))?;
    fs::copy(scripts.join("smoke.sh"), tree.join("opt/smoke.sh"))?;
    Ok(busybox)
}

/// The product and its demo, where the demo looks for them, and the programs that it runs.
fn add_demo(tree: &Path, dist: &Path, hello: &Path) -> Result<()> {
    let to = tree.join(TREE);
    for name in PROGRAMS {
        let from = dist.join(name);
        copy_libraries(&from, tree)?;
        copy(&from, &to.join("target/dist/release").join(name))?;
    }
    copy(hello, &to.join("target/dist/hello.tar"))?;
    for file in ["scripts/demo", "compose-examples/hello/compose.yaml"] {
        copy(&root().join(file), &to.join(file))?;
    }
    let programs = tree.join("opt/demo");
    copy(&root().join("tests/vm/curl"), &programs.join("curl"))?;
    for name in DEMO_PROGRAMS {
        let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let found = found.into_iter().find(|path| path.exists());
        let found = found.with_context(|| format!("the demo needs {name}, which this machine lacks"))?;
        copy_libraries(&found, tree)?;
        copy(&found, &programs.join(name))?;
    }
    Ok(())
}

/// The daemon runs its parser: profiles are compiled before they are loaded.
fn add_apparmor(tree: &Path, apparmor: &Path) -> Result<()> {
    let parser = apparmor.join("sbin/apparmor_parser");
    copy_libraries(&parser, tree)?;
    copy(&parser, &tree.join("bin/apparmor_parser"))
}

/// The initial root file system as a compressed archive.
fn packed(folder: &Path, tree: &Path) -> Result<PathBuf> {
    let archive = folder.join("initial.gz");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio -o -H newc --quiet | gzip -1 > \"$0\""])
        .arg(&archive)
        .current_dir(tree);
    run_command(pack)?;
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file's folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
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
        copy(&from.join(&module), &to.join(&module))?;
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
        copy(Path::new(path), &tree.join(path.trim_start_matches('/')))?;
    }
    // Where the distribution has merged `/usr`, the loader is named by its old path.
    if !tree.join("lib64").exists() {
        symlink("lib/x86_64-linux-gnu", tree.join("lib64"))?;
    }
    Ok(())
}

fn boot(folder: &Path, kernel: &Path, initial: &Path) -> Result<()> {
    let log = folder.join("console.log");
    let begun = Instant::now();
    let ended = run_command(machine(kernel, initial, File::create(&log)?)?);
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let lines: Vec<&str> = said.lines().map(|line| line.trim_end_matches('\r')).collect();
    for line in lines.iter().filter(|line| line.contains(": ")) {
        println!("{line}");
    }
    let all = format!("{} has all that it said", log.display());
    let last = lines.last().context("the machine said nothing")?;
    ensure!(
        took < LONGEST,
        "the machine was ended after {} s; its last words were {last:?}, and {all}",
        LONGEST.as_secs()
    );
    ended?;
    ensure!(lines.contains(&PASSED), "the smoke test did not pass: {all}");
    println!(
        "vm: {:.0} s from switching it on to switching it off, {} the {} s that it is to take",
        took.as_secs_f64(),
        if took < GOAL { "within" } else { "MORE than" },
        GOAL.as_secs()
    );
    Ok(())
}

/// Emulated, so that it needs nothing of the machine it runs on.
fn machine(kernel: &Path, initial: &Path, console: File) -> Result<Command> {
    let mut machine = Command::new("timeout");
    machine
        .arg(LONGEST.as_secs().to_string())
        .arg("qemu-system-x86_64");
    machine.args(["-M", "q35", "-cpu", "max", "-accel", "tcg"]);
    machine.args([
        "-smp",
        "2",
        "-m",
        "2500",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    machine.args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]);
    machine
        .arg("-kernel")
        .arg(only(&kernel.join("boot"), "vmlinuz-")?);
    machine.arg("-initrd").arg(initial);
    machine.stdin(Stdio::null()).stdout(console);
    Ok(machine)
}
