//! Services as the tests make them: no network, no pause between restarts unless a test says otherwise.
//!
//! Whatever a test's own flags say comes last and wins.

use crate::{Host, PATIENCE, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Output;

/// Sleeps until it is killed; pid 1 of a container hears nothing else.
pub const SLEEP: [&str; 2] = ["sleep", "100000"];

/// A field of a row as text, whatever its type.
pub fn text(row: &Value, key: &str) -> String {
    row[key]
        .as_str()
        .map_or_else(|| row[key].to_string(), str::to_owned)
}

/// Does a row of `service ps` speak of a running task?
pub fn is_running(task: &Value) -> bool {
    task["CurrentState"]
        .as_str()
        .is_some_and(|state| state.starts_with("Running"))
}

/// One JSON object a line.
pub fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

impl Host {
    /// A host with a running one-node cluster that has `busybox:1`.
    pub fn with_busybox(name: &str) -> Result<Self> {
        let host = Self::with_cluster(name)?;
        host.import_busybox("busybox:1")?;
        Ok(host)
    }

    /// `service create` of one without a network that SIGKILL stops at once; waits until it has converged.
    pub fn create(&self, name: &str, flags: &[&str], command: &[&str]) -> Result<()> {
        let output = self.try_create(name, flags, command)?;
        ensure!(
            output.status.success(),
            "service create {name}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The same, whatever comes of it.
    pub fn try_create(&self, name: &str, flags: &[&str], command: &[&str]) -> Result<Output> {
        let mut words = vec!["service", "create", "-q", "--name", name];
        for (flag, value) in [("--network", "none"), ("--stop-signal", "KILL")] {
            if !flags.contains(&flag) {
                words.extend([flag, value]);
            }
        }
        words.extend(flags);
        words.push("busybox:1");
        words.extend(command);
        self.shoal_output(&words)
    }

    /// Waits until the service's one running task is another than this, and gives its id.
    pub fn wait_replaced(&self, service: &str, old: &str) -> Result<String> {
        until("the task to be replaced", PATIENCE, || {
            let running = self.wait_running(service, 1)?;
            let id = text(&running[0], "ID");
            ensure!(id != old, "the old task runs");
            Ok(id)
        })
        .with_context(|| self.daemon_log())
    }

    /// Waits until a task of the service has ended in a state that begins so, and gives its row.
    pub fn wait_ended(&self, service: &str, state: &str) -> Result<Value> {
        until(&format!("a task of {service} to be {state}"), PATIENCE, || {
            let tasks = self.tasks(service)?;
            let ended = tasks
                .iter()
                .find(|task| text(task, "CurrentState").starts_with(state));
            ended.cloned().with_context(|| format!("{tasks:#?}"))
        })
        .with_context(|| self.daemon_log())
    }

    /// The process of a task's container.
    pub fn task_pid(&self, task: &str) -> Result<String> {
        let rows = json_lines(&self.shoal(&["ps", "--no-trunc", "--format", "json"])?)?;
        let row = rows.iter().find(|row| text(row, "Task") == task);
        Ok(text(row.with_context(|| format!("{rows:#?}"))?, "Pid"))
    }

    /// Sends a signal (`-TERM`) to a process, which must be there.
    pub fn signal(&self, signal: &str, pid: &str) -> Result<()> {
        let status = self.command("kill").args([signal, pid]).status()?;
        ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }
}
