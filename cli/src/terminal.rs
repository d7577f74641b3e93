//! The caller's terminal: is there one, how large is it, raw mode while a container has it.
//!
//! Raw mode is given back when the guard goes, whatever ends the command.

mod detach;

pub(crate) use detach::DetachKeys;

use std::io::IsTerminal;

/// Characters of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// What is assumed where nothing says.
const DEFAULT: Size = Size {
    rows: 24,
    columns: 80,
};

pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

#[cfg(unix)]
mod system {
    use super::{DEFAULT, Size};
    use anyhow::{Context, Result};
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

    pub(crate) fn size() -> Size {
        let found = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stderr()));
        match found {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size {
                rows: size.ws_row,
                columns: size.ws_col,
            },
            _ => DEFAULT,
        }
    }

    /// Raw mode of standard input, until dropped.
    #[derive(Debug)]
    pub(crate) struct Raw {
        before: Termios,
    }

    impl Raw {
        pub(crate) fn enter() -> Result<Self> {
            let before = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
                .context("cannot set the terminal to raw mode")?;
            Ok(Self { before })
        }
    }

    impl Drop for Raw {
        fn drop(&mut self) {
            // The terminal may be gone; then there is nothing to give back.
            tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::{DEFAULT, Size};
    use anyhow::{Result, bail};

    pub(crate) fn size() -> Size {
        DEFAULT
    }

    #[derive(Debug)]
    pub(crate) struct Raw;

    impl Raw {
        pub(crate) fn enter() -> Result<Self> {
            bail!("terminals are not supported on this system yet; leave -t away")
        }
    }
}

pub(crate) use system::{Raw, size};
