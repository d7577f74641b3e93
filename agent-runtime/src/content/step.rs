//! Numbered steps of what changes the image store, at each of which a test ends the process by SIGKILL.
//!
//! Called by the store before each step; in an ordinary build it is nothing.

/// The variable by which a test tells its child process where to die.
#[cfg(test)]
pub(crate) const DIE_AT: &str = "SHOAL_TEST_DIE_AT";

/// Every step; the test goes through them all.
#[cfg(test)]
pub(crate) const STEPS: &[&str] = &[
    "commit.1-begun",
    "commit.2-synced",
    "commit.3-blobs-visible",
    "commit.4-layers-visible",
    "commit.5-recorded",
    "remove.1-found",
    "remove.2-recorded",
    "remove.3-hidden",
    "prepare.1-made",
    "prepare.2-visible",
    "release.1-hidden",
    "volume.1-made",
    "volume.2-visible",
    "populate.1-copied",
    "populate.2-visible",
    "volume-remove.1-hidden",
];

/// Ends this process if a test asked for it.
#[cfg(test)]
pub(crate) fn step(name: &str) {
    assert!(STEPS.contains(&name), "{name} is not in the table");
    if std::env::var(DIE_AT).is_ok_and(|wanted| wanted == name) {
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        killed.expect("kill this process");
    }
}

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) fn step(_name: &str) {}
