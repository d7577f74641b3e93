//! AppArmor's profile for containers: loaded where the kernel has AppArmor, and loaded again when somebody unloads it.
//!
//! Called when the runtime opens and before each process that is to be confined by it. Where it cannot be loaded,
//! containers run without it, and what is missing is said with a remedy; where it is loaded, `shoal-spawn` applies it or
//! starts nothing.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;

/// The name under which the kernel knows it.
pub const PROFILE: &str = "shoal-default";

/// What it says, for `apparmor_parser` to compile.
const POLICY: &str = include_str!("apparmor/shoal-default");

/// Where distributions put the compiler.
const PARSERS: [&str; 2] = ["/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// Compiling takes a tenth of a second; on a machine that starts up and is slow, some.
const PARSER_LIMIT: Duration = Duration::from_secs(30);

/// What failed is not tried for every container again.
const RETRY: Duration = Duration::from_secs(60);

/// Something about this host that takes away from what the runtime does, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProblem {
    /// What is wrong, and what follows from it.
    pub what: String,
    /// What the host's administrator can do.
    pub remedy: String,
}

/// The profile of one host.
#[derive(Debug)]
pub(crate) struct AppArmor {
    /// `None` where the kernel has no AppArmor, or it is switched off.
    host: Option<Host>,
    failed: Mutex<Option<(Instant, HostProblem)>>,
}

/// Where things are.
#[derive(Debug)]
struct Host {
    /// The kernel's list of what is loaded.
    loaded: PathBuf,
    parsers: Vec<PathBuf>,
}

impl AppArmor {
    /// Of this host.
    pub(crate) fn new(active: bool) -> Self {
        let host = active.then(|| Host {
            loaded: "/sys/kernel/security/apparmor/profiles".into(),
            parsers: PARSERS.iter().map(PathBuf::from).collect(),
        });
        Self::of(host)
    }

    fn of(host: Option<Host>) -> Self {
        Self {
            host,
            failed: Mutex::default(),
        }
    }

    /// Loads it whatever is loaded: an older shoal's may say something else.
    pub(crate) async fn load(&self) {
        if let Some(host) = &self.host {
            host.load_into(&mut *self.failed.lock().await).await;
        }
    }

    /// The profile that a new process gets; none where there is none to be had.
    pub(crate) async fn profile(&self) -> Option<String> {
        let host = self.host.as_ref()?;
        let mut failed = self.failed.lock().await;
        if !host.has_it() && failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= RETRY) {
            host.load_into(&mut failed).await;
        }
        host.has_it().then(|| PROFILE.to_owned())
    }

    /// Why containers run without it, if they do.
    pub(crate) async fn problem(&self) -> Option<HostProblem> {
        let host = self.host.as_ref()?;
        let failed = self.failed.lock().await;
        failed
            .as_ref()
            .map(|(_, problem)| problem.clone())
            .filter(|_| !host.has_it())
    }
}

impl Host {
    fn has_it(&self) -> bool {
        let loaded = std::fs::read_to_string(&self.loaded).unwrap_or_default();
        let names = loaded.lines().filter_map(|line| line.rsplit_once(" ("));
        names.into_iter().any(|(name, _mode)| name == PROFILE)
    }

    async fn load_into(&self, failed: &mut Option<(Instant, HostProblem)>) {
        let problem = match tokio::time::timeout(PARSER_LIMIT, self.compile_and_load()).await {
            Ok(Ok(())) if self.has_it() => None,
            Ok(Ok(())) => Some((
                format!("{} does not list it afterwards", self.loaded.display()),
                "mount securityfs at /sys/kernel/security".to_owned(),
            )),
            Ok(Err(problem)) => Some(problem),
            Err(_late) => Some((
                "apparmor_parser does not come to an end".to_owned(),
                "run apparmor_parser on a profile of the host's by hand".to_owned(),
            )),
        };
        *failed = problem.map(|(why, remedy)| {
            tracing::warn!(profile = PROFILE, why, "containers run without an AppArmor profile");
            let what = format!(
                "AppArmor is active, but containers run without a profile: {PROFILE} could not be loaded: {why}"
            );
            (Instant::now(), HostProblem { what, remedy })
        });
    }

    /// Or says why not, and what to do.
    async fn compile_and_load(&self) -> Result<(), (String, String)> {
        let Some(parser) = self.parsers.iter().find(|path| path.exists()) else {
            return Err((
                "apparmor_parser is not installed".to_owned(),
                "install the package apparmor; shoald needs no restart".to_owned(),
            ));
        };
        let failed = |error: io::Error| {
            (
                format!("running {}: {error}", parser.display()),
                "reinstall the package apparmor".to_owned(),
            )
        };
        let mut child = Command::new(parser)
            .args(["--replace", "--skip-cache"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            // One that does not read it says why when it ends.
            let _its_end_says_more = input.write_all(POLICY.as_bytes()).await;
        }
        let ended = child.wait_with_output().await.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        Err((
            format!(
                "{} ended with {}: {}",
                parser.display(),
                ended.status,
                said.trim().replace('\n', "; ")
            ),
            "see what the kernel's log says of apparmor, and whether the package apparmor is of this distribution"
                .to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests;
