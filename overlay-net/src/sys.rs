//! The one thing that the kernel offers on netlink sockets and no safe wrapper does: their own socket options.
//!
//! Called where a netlink socket is opened.

#![expect(unsafe_code, reason = "no safe wrapper sets these socket options")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// `SOL_NETLINK` options that this crate sets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetlinkOption {
    /// Hear the notifications of every namespace that has an id in the socket's own one.
    ListenAllNamespaces,
    /// Error answers carry a text.
    ExtendedAnswers,
    /// Error answers do not repeat the request: a batch may be half a megabyte.
    CapAnswers,
    /// Dump requests are filtered by what their header says.
    StrictCheck,
}

/// Switches one option on.
pub(crate) fn set_netlink_option(socket: impl AsFd, option: NetlinkOption) -> Result<(), Errno> {
    let name = match option {
        NetlinkOption::ListenAllNamespaces => libc::NETLINK_LISTEN_ALL_NSID,
        NetlinkOption::ExtendedAnswers => libc::NETLINK_EXT_ACK,
        NetlinkOption::CapAnswers => libc::NETLINK_CAP_ACK,
        NetlinkOption::StrictCheck => libc::NETLINK_GET_STRICT_CHK,
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the descriptor is open for as long as it is borrowed, and the option's value is an int that lives
    // until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            name,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }
}
