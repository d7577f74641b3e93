//! The end: the host is as it was, but for what others may rely on by now (that packets are passed on).
//!
//! Called without an engine, also where none was ever opened.

use super::KernelError;
use super::kernel::ChangeError;
use crate::desired::Tag;
use crate::netlink::NetlinkError;
use crate::nft::{Family, NftSocket, Operation, TableName};
use crate::plan;
use crate::rtnl::{Request, RouteSocket};

/// Removes the tables, rules and link of a tag from the calling thread's namespace. Its router, and what is in it,
/// goes with the router's file and the containers.
pub(crate) fn purge(tag: &Tag) -> Result<(), KernelError> {
    let failed = |source| ChangeError::Netlink {
        change: "remove what is left of the network",
        source,
    };
    tables(tag).map_err(failed)?;
    link(tag).map_err(failed)?;
    Ok(())
}

fn tables(tag: &Tag) -> Result<(), NetlinkError> {
    let mut socket = NftSocket::open()?;
    let mut operations = Vec::new();
    for family in Family::ALL {
        let table = plan::table(tag, family);
        if socket.tables(family)?.contains(&table.name) {
            operations.push((table, Operation::RemoveTable));
        }
    }
    let ours = plan::host_link(tag);
    for chain in socket.foreign(&ours)? {
        let Some(family) = Family::ALL
            .into_iter()
            .find(|family| family.number() == chain.family)
        else {
            continue;
        };
        let rules = chain.rules.iter().map(|rule| &rule.rule);
        for rule in rules.filter(|rule| rule.comment.starts_with(&format!("{ours} "))) {
            let table = TableName {
                family,
                name: chain.table.clone(),
            };
            let operation = Operation::RemoveRule {
                chain: chain.chain.clone(),
                handle: rule.handle,
            };
            operations.push((table, operation));
        }
    }
    if operations.is_empty() {
        return Ok(());
    }
    socket.commit(operations.iter().map(|(table, operation)| (table, operation)))
}

fn link(tag: &Tag) -> Result<(), NetlinkError> {
    let mut socket = RouteSocket::open()?;
    let Some(link) = socket.link(&plan::host_link(tag))? else {
        return Ok(());
    };
    let failures = socket.send(&[Request::<()>::RemoveLink(link.index)], |()| -1)?;
    match failures.into_iter().next() {
        None => Ok(()),
        Some(failure) => Err(NetlinkError::Refused(failure)),
    }
}
