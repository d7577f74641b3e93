//! Measures create + start + exit + remove of one container, beside runc.
//!
//! `run_and_remove --programs DIR --image ARCHIVE`; one line a run: our milliseconds, runc's step by step, and those
//! of one `runc run`. Runs are interleaved and a moment apart, because an idle host's cgroups cost more than a busy
//! one's. What runc is given stands in `peer`.

#![expect(clippy::print_stdout, reason = "its output is its result")]

mod peer;

use peer::{Peer, Way};
use shoal_agent_runtime::{
    ContainerId, ContainerSpec, Limits, Network, PinnedImage, Runtime, RuntimeConfig, image::Progress,
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const RUNS: usize = 40;
const APART: Duration = Duration::from_millis(200);

/// The number of the container that runc's is made like, beyond those of the runs.
const MODEL: usize = RUNS;

/// Limits that many containers have, so that both runtimes write to the same controllers.
const MEMORY: u64 = 256 << 20;
const PIDS: u64 = 512;

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
    let measured = measure(&folder, &flag("--programs")?, &flag("--image")?).await;
    fs::remove_dir_all(&folder)?;
    measured
}

async fn measure(folder: &Path, programs: &Path, image: &Path) -> Result<(), Box<dyn Error>> {
    let run_dir = folder.join("run");
    let runtime = Runtime::open(RuntimeConfig {
        state_dir: folder.join("state"),
        run_dir: run_dir.clone(),
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
    let model = spec(&image, MODEL)?;
    let id = model.id.clone();
    runtime.create(model).await?;
    let peer = Peer::like(&run_dir.join("containers").join(id.as_str()), folder);
    runtime.remove(&id).await?;
    runtime.forget_logs(&id).await?;
    let peer = peer?;
    for run in 0..RUNS {
        tokio::time::sleep(APART).await;
        let ours = run_ours(&runtime, spec(&image, run)?).await?;
        tokio::time::sleep(APART).await;
        let steps = peer.run(Way::Steps)?;
        tokio::time::sleep(APART).await;
        let once = peer.run(Way::Once)?;
        println!("{:.3} {:.3} {:.3}", millis(ours), millis(steps), millis(once));
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn spec(image: &PinnedImage, run: usize) -> Result<ContainerSpec, Box<dyn Error>> {
    let id: ContainerId = format!("{run:064x}").parse()?;
    Ok(ContainerSpec {
        command: Some(vec!["about".to_owned()]),
        limits: Limits {
            memory: Some(MEMORY),
            pids: Some(PIDS),
            ..Limits::default()
        },
        ..ContainerSpec::new(id, image.clone(), Network::Host)
    })
}

async fn run_ours(runtime: &Runtime, spec: ContainerSpec) -> Result<Duration, Box<dyn Error>> {
    let id = spec.id.clone();
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
