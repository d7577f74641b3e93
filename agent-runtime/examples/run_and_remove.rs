//! Measures create + start + exit + remove of one container, beside runc.
//!
//! `run_and_remove --programs DIR --image ARCHIVE --program FILE`; one line a run: our milliseconds, runc's.
//! Runs are interleaved and a moment apart, because an idle host's cgroups cost more than a busy one's.
//! runc gets the same program in a plain folder and its own default specification, without a seccomp
//! filter and without an overlay: less work than ours does.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use shoal_agent_runtime::{
    ContainerId, ContainerSpec, Network, PinnedImage, Runtime, RuntimeConfig, image::Progress,
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const RUNS: usize = 30;
const APART: Duration = Duration::from_millis(200);

/// What runc needs to run the program on the host's network, as the product's container has.
const PROGRAM: &str = "/hello";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let flag = |name: &str| {
        let at = words
            .iter()
            .position(|word| word == name)
            .ok_or_else(|| format!("{name} is missing"))?;
        words
            .get(at + 1)
            .map(PathBuf::from)
            .ok_or_else(|| format!("{name} needs a value"))
    };
    let folder = PathBuf::from(format!("/var/tmp/shoal-measure-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(
        &folder,
        &flag("--programs")?,
        &flag("--image")?,
        &flag("--program")?,
    )
    .await;
    fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &Path, programs: &Path, image: &Path, program: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::open(RuntimeConfig {
        state_dir: folder.join("state"),
        run_dir: folder.join("run"),
        logs_dir: folder.join("logs"),
        volumes_dir: folder.join("volumes"),
        tag: format!("{:08x}", std::process::id()),
        shim: programs.join("shoal-shim"),
        spawn: programs.join("shoal-spawn"),
        insecure_registries: Vec::new(),
        favordynmods: false,
    })
    .await?;
    let archive = tokio::fs::File::open(image).await?;
    let loaded = runtime.images().load(archive, &Progress::default()).await?;
    let digest = loaded
        .first()
        .ok_or("the archive holds no image")?
        .digest
        .to_string();
    let image = PinnedImage {
        reference: "hello:1".to_owned(),
        digest,
    };
    let bundle = runc_bundle(folder, program)?;
    for run in 0..RUNS {
        tokio::time::sleep(APART).await;
        let ours = run_ours(&runtime, &image, run).await?;
        tokio::time::sleep(APART).await;
        let peer = run_runc(&bundle, run)?;
        println!(
            "{:.3} {:.3}",
            ours.as_secs_f64() * 1000.0,
            peer.as_secs_f64() * 1000.0
        );
    }
    Ok(())
}

async fn run_ours(runtime: &Runtime, image: &PinnedImage, run: usize) -> Result<Duration, Box<dyn Error>> {
    let id: ContainerId = format!("{run:064x}").parse()?;
    let mut spec = ContainerSpec::new(id.clone(), image.clone(), Network::Host);
    spec.command = Some(vec!["about".to_owned()]);
    let begun = Instant::now();
    runtime.create(spec).await?;
    runtime.start(&id).await?;
    let exit = runtime.wait(&id).await?;
    runtime.remove(&id).await?;
    let took = begun.elapsed();
    runtime.forget_logs(&id).await?;
    if exit.code == 0 {
        Ok(took)
    } else {
        Err(format!("exit code {}", exit.code).into())
    }
}

/// A bundle with runc's own default specification, changed only where the program needs it.
fn runc_bundle(folder: &Path, program: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let bundle = folder.join("bundle");
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::copy(program, bundle.join("rootfs/hello"))?;
    let status = Command::new("runc").arg("spec").current_dir(&bundle).status()?;
    if !status.success() {
        return Err(format!("runc spec: {status}").into());
    }
    let path = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!([PROGRAM, "about"]);
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    fs::write(&path, serde_json::to_vec(&spec)?)?;
    Ok(bundle)
}

fn run_runc(bundle: &Path, run: usize) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let status = Command::new("runc")
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(format!("shoal-measure-{}-{run}", std::process::id()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let took = begun.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("runc run: {status}").into())
    }
}
