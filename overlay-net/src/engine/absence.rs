//! While the network is away: nobody is led to a backend that is gone.
//!
//! Called by `shoal-net`, without an engine. The one that comes back looks at everything and knows better.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::KernelError;
use super::kernel::ChangeError;
use crate::conntrack::Conntrack;
use crate::desired::Tag;
use crate::namespace::Namespace;
use crate::netlink::NetlinkError;
use crate::nft::{Family, NftSocket};
use crate::plan;

/// Takes backends out of the tables of the router, whose namespace this file stands for, and has it forget their
/// connections: whose client sends something finds another backend.
pub(crate) fn take_out(tag: &Tag, router: &Path, gone: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
    let router = Namespace::open(router).map_err(ChangeError::from)?;
    let taken_out = router.enter(|| tables(tag, gone).and_then(|()| connections(gone)));
    let failed = |source| ChangeError::Netlink {
        change: "take out backends that are gone",
        source,
    };
    Ok(taken_out.map_err(ChangeError::from)?.map_err(failed)?)
}

fn tables(tag: &Tag, gone: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
    let mut socket = NftSocket::open()?;
    for family in Family::ALL {
        let Some(there) = socket.table(&plan::table(tag, family))? else {
            continue;
        };
        for step in plan::without(tag, family, gone, &there) {
            socket.commit(step.iter().map(|(table, operation)| (table, operation)))?;
        }
    }
    Ok(())
}

fn connections(gone: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
    let mut connections = Conntrack::open()?;
    let found = connections.answered_by(gone)?;
    connections.delete(&found.entries)
}
