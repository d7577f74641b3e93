//! The cluster's first entry, and changes of its settings. Called by `request::plan`; certificates and
//! tokens are made by the shell and only stored here.

use super::{
    RequestContext, Response, check_version, network,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{Cluster, ClusterSpec, INGRESS, IdGen, NetworkSpec, Node, Version},
    refusal::{Refusal, RefusalCode},
    store::{Change, StoreView},
    validate,
};
use ipnet::Ipv6Net;
use std::net::Ipv6Addr;

/// The cluster, its first node and the network `ingress`.
pub(super) fn bootstrap(tx: &mut Transaction<'_>, cluster: &Cluster, node: &Node) -> Planned<Response> {
    if let Some(there) = tx.view.cluster() {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format!("this manager already belongs to cluster {}", there.id),
        ));
    }
    if let Some(refusal) = Refusal::of_faults(validate::cluster(&cluster.spec)) {
        return Err(refusal);
    }
    tx.put(cluster.clone());
    tx.put(node.clone());
    add_ingress(tx, cluster)?;
    Ok(Response::Node { id: node.id.clone() })
}

fn add_ingress(tx: &mut Transaction<'_>, cluster: &Cluster) -> Planned<()> {
    let ingress = NetworkSpec {
        name: INGRESS.to_owned(),
        ipv6: cluster.spec.pools.v6.is_some(),
        ingress: true,
        ..NetworkSpec::default()
    };
    network::created(tx, ingress, None).map(|_| ())
}

/// What a state lacks that a version without networks stored: the range that their IPv6 subnets are from, and the
/// network `ingress`. A leader adds it when it begins to lead; where the pools have no room for `ingress`, the next
/// leader tries again.
pub fn upgrade(view: &StoreView, ctx: &mut RequestContext<'_>) -> Vec<Change> {
    let Some(cluster) = view.cluster() else {
        return Vec::new();
    };
    let mut tx = Transaction::new(view, ctx);
    let mut cluster = Cluster::clone(cluster);
    if cluster.spec.pools.v6.is_none() {
        cluster.spec.pools.v6 = Some(unique_local(tx.ids));
        tx.put(cluster.clone());
    }
    let has = view.networks().any(|network| network.spec.ingress);
    if !has {
        let _no_room = add_ingress(&mut tx, &cluster).err();
    }
    tx.finish()
}

/// A unique local /48 (RFC 4193): 40 random bits behind fd00::/8.
fn unique_local(ids: &mut IdGen) -> Ipv6Net {
    let [a, b, c, d, e] = ids.next_bits();
    let pair = u16::from_be_bytes;
    let network = Ipv6Addr::new(pair([0xfd, a]), pair([b, c]), pair([d, e]), 0, 0, 0, 0, 0);
    Ipv6Net::new_assert(network, 48)
}

pub(super) fn update(tx: &mut Transaction<'_>, version: Version, spec: &ClusterSpec) -> Planned<Response> {
    let Some(cluster) = tx.base().cluster() else {
        return Err(Refusal::new(RefusalCode::NotFound, "there is no cluster yet"));
    };
    check_version("cluster", &cluster.spec.name, version, cluster.meta.version)?;
    if let Some(refusal) = Refusal::of_faults(validate::cluster(spec)) {
        return Err(refusal);
    }
    if spec.pools != cluster.spec.pools {
        return Err(Refusal::new(
            RefusalCode::Unsupported,
            "the ranges that networks are from are fixed when the cluster is made",
        )
        .with_field("pools"));
    }
    if *spec != cluster.spec {
        tx.put(Cluster {
            spec: spec.clone(),
            ..Cluster::clone(cluster)
        });
    }
    Ok(Response::Done)
}
