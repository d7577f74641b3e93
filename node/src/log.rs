//! Logging of the daemon: lines on stderr, for a journal or a file.
//!
//! Set up once by `main`; nothing else in the daemon chooses where lines go.

use crate::config::NodeConfig;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// A bare level is about Shoal's own parts; what they are built on stays at warnings.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) {
        return level.to_owned();
    }
    let parts = [
        "shoald",
        "shoal_node",
        "shoal_manager",
        "shoal_worker",
        "shoal_agent_runtime",
    ];
    let own = parts.map(|part| format!("{part}={level}")).join(",");
    format!("warn,{own}")
}

/// Starts logging; a second call changes nothing.
pub fn start(config: &NodeConfig) {
    // Checked with the other settings.
    let filter = EnvFilter::try_new(directives(&config.log_level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let set = if config.log_json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    // A logger is there already in tests, which is as good.
    drop(set);
}
