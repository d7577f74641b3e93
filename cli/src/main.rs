//! `shoal`: the client. Parses the command line, asks a daemon, prints the answer.
//!
//! One file a verb below `verb/`; nothing here decides anything about a cluster. Exit codes: 2 for a usage
//! error, 1 for a failure, the program's own for `exec`.

mod args;
mod complete;
mod compose_files;
mod connect;
mod context;
mod failure;
mod filter;
mod output;
mod progress;
mod signals;
mod spec;
mod terminal;
mod units;
mod verb;
mod view;
mod wire;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match complete::answered() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => return finish(Err(error)),
    }
    let arguments = args::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(error.into())),
    };
    let done = runtime.block_on(verb::run(arguments));
    // A thread may still read standard input: nobody waits for its next line.
    runtime.shutdown_background();
    finish(done)
}

fn finish(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let (text, code) = failure::report(&error);
    if let Some(text) = text {
        output::note(&text);
    }
    ExitCode::from(code)
}
