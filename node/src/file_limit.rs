//! Open files: the soft limit is raised to the hard one, as far as the daemon and its containers can use it.
//!
//! A shell or a service manager gives 1,024, which is for programs that use `select`; a node holds a few for each
//! container and each connection. Containers inherit what is set here, as Docker's do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What Docker's containers have; more slows down programs that close every descriptor they might have.
const MOST: u64 = 1 << 20;

/// Raises it. A refusal costs nothing but room.
pub fn raise() {
    let now = getrlimit(Resource::Nofile);
    let wanted = wanted(now);
    if wanted != now
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, limit = now.current, "the limit of open files was not raised");
    }
}

/// `None` is no limit at all.
fn wanted(now: Rlimit) -> Rlimit {
    let most = now.maximum.unwrap_or(MOST).min(MOST);
    Rlimit {
        current: now.current.map(|current| current.max(most)),
        maximum: now.maximum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_lowered_and_never_above_the_hard_limit() {
        for (current, maximum, expect) in [
            (Some(1024), Some(524_288), Some(524_288)),
            (Some(1024), Some(4096), Some(4096)),
            (Some(1024), None, Some(MOST)),
            (Some(MOST * 2), Some(MOST * 4), Some(MOST * 2)),
            (None, None, None),
        ] {
            let found = wanted(Rlimit { current, maximum });
            assert_eq!((found.current, found.maximum), (expect, maximum));
        }
    }
}
