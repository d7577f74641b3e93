//! A person at a terminal: types a line, reads until the shell asks for the next, and knows how it ended.
//!
//! The terminal is a real one (`script` of util-linux makes it), so that programs behave as they do for people.

use crate::{Host, PATIENCE, until};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// What the shell asks with; the exit code of the line before stands in it.
const PROMPT: &str = "ready-after-";

/// What Ctrl-C types.
const INTERRUPT: &[u8] = b"\x03";

/// What Ctrl-P Ctrl-Q types.
const LEAVE: &[u8] = b"\x10\x11";

#[derive(Debug)]
pub struct Typist {
    terminal: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
    /// How much of the screen was read.
    read: usize,
}

impl Typist {
    /// Sits down in a host, in this folder, with these words in the environment.
    pub fn new(host: &Host, folder: &str, environment: &[(&str, String)]) -> Result<Self> {
        // A shell on the way that is no person's would take the prompt out of the environment.
        let settings = host.folder().join("typist.rc");
        fs::write(&settings, format!("PS1='{PROMPT}$?:'\n"))?;
        let shell = format!("bash --noprofile --noediting --rcfile {} -i", settings.display());
        // Who runs the tests in the background may have them ignore what Ctrl-C sends, and the shell would leave it so.
        let mut command: Command = host.command("env");
        command
            .args(["--default-signal=INT,QUIT", "script"])
            .args(["--quiet", "--flush", "--command", &shell, "/dev/null"])
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .env("TERM", "xterm")
            .env("HISTFILE", "/dev/null");
        let mut terminal = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start script")?;
        let keys = terminal.stdin.take().context("no keys")?;
        let mut output = terminal.stdout.take().context("no screen")?;
        let screen = Arc::<Mutex<String>>::default();
        let shown = screen.clone();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                shown
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
            }
        });
        let mut typist = Self {
            terminal,
            keys,
            screen,
            read: 0,
        };
        typist.wait_for_prompt()?;
        // Entering a mount namespace leads to its root, wherever one was before.
        typist.line(&format!("cd {folder}"))?;
        Ok(typist)
    }

    /// What the screen shows beyond what was read.
    pub fn shown(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.get(self.read..).unwrap_or_default().to_owned()
    }

    /// Types a line, and gives its exit code and what it said.
    pub fn line(&mut self, line: &str) -> Result<(i32, String)> {
        self.begin(line)?;
        self.wait_for_prompt().with_context(|| line.to_owned())
    }

    /// Types a line and does not wait for its end.
    pub fn begin(&mut self, line: &str) -> Result<()> {
        self.keys.write_all(line.as_bytes())?;
        self.keys.write_all(b"\n")?;
        Ok(())
    }

    /// Waits until the screen shows this, and more than the line itself.
    pub fn wait_for(&self, what: &str, count: usize) -> Result<()> {
        until(&format!("{count} times {what:?} on the screen"), PATIENCE, || {
            let shown = self.shown();
            ensure!(shown.matches(what).count() >= count, "{shown}");
            Ok(())
        })
    }

    /// Ends what runs by Ctrl-C.
    pub fn interrupt(&mut self) -> Result<(i32, String)> {
        self.keys.write_all(INTERRUPT)?;
        self.wait_for_prompt()
    }

    /// Leaves what runs to itself by Ctrl-P Ctrl-Q.
    pub fn leave(&mut self) -> Result<(i32, String)> {
        self.keys.write_all(LEAVE)?;
        self.wait_for_prompt()
    }

    fn wait_for_prompt(&mut self) -> Result<(i32, String)> {
        let (code, said) = until("the shell", PATIENCE, || {
            let shown = self.shown();
            let (said, prompt) = shown.split_once(PROMPT).with_context(|| shown.clone())?;
            let (code, _) = prompt.split_once(':').with_context(|| shown.clone())?;
            Ok((code.parse()?, said.to_owned()))
        })?;
        self.read += said.len() + PROMPT.len() + code_length(code) + 1;
        Ok((code, said))
    }
}

fn code_length(code: i32) -> usize {
    code.to_string().len()
}

impl Drop for Typist {
    fn drop(&mut self) {
        drop(self.terminal.kill());
        drop(self.terminal.wait());
    }
}
