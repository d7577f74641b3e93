//! Compose files in, a `StackSpec` out, with a report that names file and line of everything it says.
//!
//! Called by the CLI (and by whoever else is handed a Compose file). Nothing here reads a file, a clock
//! or the environment: the caller passes texts and variables, and answers for further files through
//! [`Files`]. Every key of the specification is carried out, or reported with the reason; none is dropped
//! without a word. Reading never panics and is bounded in bytes, depth, aliases and nodes.

mod check;
mod dotenv;
mod interpolate;
mod keys;
mod links;
mod load;
mod merge;
mod networks;
mod parse;
mod reader;
mod render;
mod report;
mod service;
mod suggest;
mod tree;
mod units;

#[cfg(test)]
mod tests;

pub use dotenv::{EnvFileError, parse as parse_env_file};
pub use load::{DEFAULT_FILES, FileError, Files, Loaded, OVERRIDE_FILES, Options, SourceFile, load};
pub use parse::{MAX_ALIASED_BYTES, MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES};
pub use report::{Diagnostic, Severity};
pub use units::{parse_duration, scaled};
