//! The real runtime behind `TaskRuntime`: translates, calls, and turns errors into sentences for users.
//!
//! Called by keepers; decides nothing.

use crate::assignment::AssignedTask;
use crate::clock;
use crate::health::{HealthPlan, OUTPUT_LIMIT, Probe};
use crate::keeper::chain;
use crate::ports;
use crate::runtime::TaskRuntime;
use crate::task::{Failure, Found, ImageFacts, StartedFacts};
use crate::translate;
use futures::StreamExt;
use shoal_agent_runtime::image::{Digest, Progress, Reference};
use shoal_agent_runtime::{
    ContainerId, ContainerState, CreateError, ExecError, ExecOutput, ExecSpec, Exit, KillError, Runtime,
    Signal, StartError,
};
use shoal_core::model::NetworkMode;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a check wrote may arrive after its exit; its children may keep its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Clone, Debug)]
pub struct NodeRuntime {
    runtime: Runtime,
    /// The host's address towards containers.
    host: IpAddr,
}

impl NodeRuntime {
    pub fn new(runtime: Runtime, host: IpAddr) -> Self {
        Self { runtime, host }
    }

    async fn facts(&self, digest: &str) -> Option<ImageFacts> {
        let digest: Digest = digest.parse().ok()?;
        let config = self.runtime.images().config(&digest).await.ok()?;
        Some(translate::image_facts(&config))
    }
}

impl NodeRuntime {
    /// The anonymous volumes of a container whose task is not known any more.
    async fn volumes_of(&self, id: &ContainerId) -> Vec<String> {
        let listed = self.runtime.volumes().list().await;
        let listed = listed.unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "volumes cannot be listed, anonymous ones of no task stay");
            Vec::new()
        });
        let names = listed.into_iter().map(|volume| volume.name);
        names
            .filter(|name| translate::is_anonymous_of(id, name))
            .collect()
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(chain(error))
}

impl TaskRuntime for NodeRuntime {
    async fn has_image(&self, task: &AssignedTask) -> bool {
        match &task.spec.container.image_digest {
            Some(digest) => self.facts(digest).await.is_some(),
            None => false,
        }
    }

    async fn fetch(&self, task: &AssignedTask, progress: &Progress) -> Result<ImageFacts, Failure> {
        let image = translate::pinned(task)?;
        if let Some(facts) = self.facts(&image.digest).await {
            return Ok(facts);
        }
        let reference: Reference = image.reference.parse().map_err(|error| failed(&error))?;
        let digest: Digest = image.digest.parse().map_err(|error| failed(&error))?;
        let pinned = reference.with_digest(digest);
        let pulled = self.runtime.images().pull(&pinned, progress).await;
        pulled.map_err(|error| {
            Failure::new(format!(
                "image {} ({}) is not on this node and could not be pulled: {}",
                image.reference,
                image.digest,
                chain(&error)
            ))
        })?;
        Ok(self.facts(&image.digest).await.unwrap_or_default())
    }

    async fn inspect(&self, task: &AssignedTask) -> ImageFacts {
        match &task.spec.container.image_digest {
            Some(digest) => self.facts(digest).await.unwrap_or_default(),
            None => ImageFacts::default(),
        }
    }

    async fn create(&self, id: &ContainerId, task: &AssignedTask, attempt: u32) -> Result<(), Failure> {
        for path in translate::directories_to_make(task) {
            let made = tokio::fs::create_dir_all(&path).await;
            made.map_err(|error| {
                Failure::new(format!(
                    "making the mounted directory {}: {error}",
                    path.display()
                ))
            })?;
        }
        let spec = translate::container_spec(id, task, attempt, self.host)?;
        self.runtime.create(spec).await.map_err(|error| Failure {
            message: chain(&error),
            exit_code: match &error {
                CreateError::Command { exit_code, .. } => Some(*exit_code),
                _ => None,
            },
        })
    }

    async fn namespace(&self, id: &ContainerId) -> Result<PathBuf, Failure> {
        let found = self.runtime.network_namespace(id).await;
        found.map_err(|error| failed(&error))
    }

    async fn check_ports(&self, task: &AssignedTask) -> Result<(), Failure> {
        // Ports of other tasks are held by the node's network, which says who has them instead.
        if task.ports.is_empty() || task.spec.container.network != NetworkMode::Host {
            return Ok(());
        }
        let published = task.ports.clone();
        let taken = tokio::task::spawn_blocking(move || ports::taken(&published)).await;
        match taken {
            Ok(Some(sentence)) => Err(Failure::new(sentence)),
            // A check that could not be made refuses nothing: the program will say what it cannot bind.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    async fn start(&self, id: &ContainerId) -> Result<StartedFacts, Failure> {
        match self.runtime.start(id).await {
            Ok(started) => Ok(StartedFacts {
                pid: started.pid,
                started: clock::instant_of(started.at),
            }),
            Err(error) => Err(Failure {
                message: chain(&error),
                exit_code: match &error {
                    StartError::Command { exit_code, .. } => Some(*exit_code),
                    _ => None,
                },
            }),
        }
    }

    async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), Failure> {
        match self.runtime.kill(id, signal).await {
            Ok(()) | Err(KillError::NotFound(_) | KillError::NotRunning(_)) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn wait(&self, id: &ContainerId) -> Result<Exit, Failure> {
        self.runtime.wait(id).await.map_err(|error| failed(&error))
    }

    async fn probe(&self, id: &ContainerId, plan: &HealthPlan) -> Probe {
        let began = Instant::now();
        let mut output = Vec::new();
        let run = tokio::time::timeout(plan.timeout, run(&self.runtime, id, plan, &mut output)).await;
        let (exit_code, note) = match run {
            Ok(Ok(code)) => (Some(code), None),
            Ok(Err(ExecError::Command { message, exit_code })) => (Some(exit_code), Some(message)),
            Ok(Err(error)) => (None, Some(chain(&error))),
            Err(_) => (
                None,
                Some(format!("the check did not end within {:?}", plan.timeout)),
            ),
        };
        let mut text = String::from_utf8_lossy(&output).into_owned();
        if let Some(note) = note {
            text = format!("{note}\n{text}");
        }
        Probe {
            began,
            exit_code,
            output: text,
        }
    }

    async fn remove(&self, id: &ContainerId, task: Option<&AssignedTask>) -> Result<(), Failure> {
        self.runtime.remove(id).await.map_err(|error| failed(&error))?;
        let volumes = match task {
            Some(task) => translate::anonymous_volumes(id, task),
            None => self.volumes_of(id).await,
        };
        for volume in volumes {
            if let Err(error) = self.runtime.volumes().remove(&volume, &[]).await {
                tracing::debug!(volume, error = %chain(&error), "an anonymous volume stays");
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<(ContainerId, Found)>, Failure> {
        let listed = self.runtime.list().await.map_err(|error| failed(&error))?;
        let found = listed.into_iter().map(|status| {
            let found = match status.state {
                ContainerState::Created => Found::Created,
                ContainerState::Exited(exit) => Found::Exited(exit),
                ContainerState::Running => Found::Running(StartedFacts {
                    pid: status.pid.unwrap_or(0),
                    started: status.started_at.map_or_else(Instant::now, clock::instant_of),
                }),
            };
            (status.id, found)
        });
        Ok(found.collect())
    }

    async fn logged(&self) -> Vec<ContainerId> {
        self.runtime.logged().await.unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "logs cannot be listed, those of no task stay");
            Vec::new()
        })
    }

    async fn forget_logs(&self, id: &ContainerId) {
        if let Err(error) = self.runtime.forget_logs(id).await {
            tracing::warn!(container = %id, error = %chain(&error), "an old log stays");
        }
    }
}

/// Runs a check; what it prints beyond the limit is read and dropped, so that it never blocks.
async fn run(
    runtime: &Runtime,
    id: &ContainerId,
    plan: &HealthPlan,
    output: &mut Vec<u8>,
) -> Result<i32, ExecError> {
    let spec = ExecSpec {
        args: plan.command.clone(),
        env: Vec::new(),
        workdir: None,
        user: None,
        tty: None,
        stdin: false,
    };
    let mut session = runtime.exec(id, spec).await?;
    let mut open = true;
    let mut ended = None;
    let mut last_words = None;
    loop {
        tokio::select! {
            biased;
            next = session.output.next(), if open => match next {
                Some(Ok(ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes))) => {
                    let room = OUTPUT_LIMIT.saturating_sub(output.len());
                    output.extend(bytes.iter().take(room));
                }
                Some(Err(_)) | None => open = false,
            },
            code = session.exit.wait(), if ended.is_none() => {
                ended = Some(code);
                last_words = Some(Instant::now() + LAST_WORDS);
            }
            () = clock::sleep_until(last_words) => open = false,
        }
        if !open && let Some(code) = ended.take() {
            return code;
        }
    }
}
