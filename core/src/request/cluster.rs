//! The cluster's first entry, and changes of its settings. Called by `request::plan`; certificates and
//! tokens are made by the shell and only stored here.

use super::{
    Response, check_version, network,
    transaction::{Planned, Transaction},
};
use crate::{
    model::{Cluster, ClusterSpec, INGRESS, NetworkSpec, Node, Version},
    refusal::{Refusal, RefusalCode},
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
    let ingress = NetworkSpec {
        name: INGRESS.to_owned(),
        ipv6: cluster.spec.pools.v6.is_some(),
        ingress: true,
        ..NetworkSpec::default()
    };
    network::created(tx, ingress, None)?;
    Ok(Response::Node { id: node.id.clone() })
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
