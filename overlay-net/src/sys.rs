//! What the kernel offers on sockets and no safe wrapper does: options of netlink sockets, and the tables of
//! `iptables-legacy`, which are read as options of any socket, and how much of what was sent waits.
//!
//! Called where a netlink socket is opened, by `xtables`, and where a process hands over.

#![expect(unsafe_code, reason = "no safe wrapper knows these socket options")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::net::AddressFamily;

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
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// What of a table of `iptables-legacy` is read, by numbers that both families have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FilterOption {
    /// `IPT_SO_GET_INFO`: where its chains are, and how long it is.
    Info,
    /// `IPT_SO_GET_ENTRIES`: all of it.
    Entries,
}

/// Fills a buffer, at whose beginning the table is named, with what is asked for; says how much of it is filled.
pub(crate) fn get_filter_option(
    socket: impl AsFd,
    family: AddressFamily,
    option: FilterOption,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    let level = if family == AddressFamily::INET {
        libc::IPPROTO_IP
    } else {
        libc::IPPROTO_IPV6
    };
    let name = match option {
        FilterOption::Info => 64,
        FilterOption::Entries => 65,
    };
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(|_too_long| Errno::INVAL)?;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel writes at most as many bytes as the
    // length says, and that many belong to the buffer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(usize::try_from(length).unwrap_or_default())
    } else {
        Err(last_error())
    }
}

/// How much of what was sent by a socket of this machine's own was not read yet (`SIOCOUTQ`).
pub(crate) fn unread(socket: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and this request writes one int, which lives until
    // the call returns.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        Ok(usize::try_from(bytes).unwrap_or_default())
    } else {
        Err(last_error())
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
