//! The cluster's first entry, and changes of its settings. Called by `request::plan`; certificates and
//! tokens are made by the shell and only stored here.

use super::{
    RequestContext, Response, check_version, network,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{Cluster, ClusterSpec, INGRESS, NetworkSpec, Node, Version},
    refusal::{Refusal, RefusalCode},
    store::{Change, StoreView},
    validate,
};

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

/// What a state lacks that a version without networks stored: the network `ingress`. A leader adds it when it
/// begins to lead; where the pools have no room for it, nothing is added, and the next leader tries again.
pub fn upgrade(view: &StoreView, ctx: &mut RequestContext<'_>) -> Vec<Change> {
    let has = view.networks().any(|network| network.spec.ingress);
    let Some(cluster) = view.cluster().filter(|_| !has) else {
        return Vec::new();
    };
    let mut tx = Transaction::new(view, ctx);
    match add_ingress(&mut tx, cluster) {
        Ok(()) => tx.finish(),
        Err(_no_room) => Vec::new(),
    }
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
