//! Who may call which RPC: the table that `build.rs` makes from each RPC's `allow` option.
//!
//! Servers check every call against it before the handler runs. The certificate or the socket says who
//! the caller is; what a node may do *now* is the store's word, which the server asks besides.

/// A right that an RPC may ask for; the wire's `Access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// No certificate needed.
    Anyone,
    /// A node that works.
    Worker,
    /// A node that manages.
    Manager,
    /// An administrator: by client certificate, or by a manager's local socket.
    Admin,
    /// Whoever may open the local socket of any node.
    Socket,
}

/// Every RPC's path (`/shoal.v1.Control/CreateService`) and who may call it, sorted by path.
pub static TABLE: &[(&str, &[Access])] = include!(concat!(env!("OUT_DIR"), "/access_table.rs"));

/// Who may call the RPC of that path; `None` if there is no such RPC.
pub fn allowed(path: &str) -> Option<&'static [Access]> {
    TABLE
        .binary_search_by(|(row, _)| (*row).cmp(path))
        .ok()
        .map(|at| TABLE[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_and_no_other() {
        for (path, allow) in TABLE {
            assert_eq!(allowed(path), Some(*allow), "{path}");
            assert!(!allow.is_empty(), "{path}");
        }
        assert_eq!(allowed("/shoal.v1.Control/NoSuch"), None);
        assert_eq!(
            allowed("/shoal.v1.Dispatcher/Session"),
            Some(&[Access::Worker, Access::Manager][..])
        );
    }
}
