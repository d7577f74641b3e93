//! The cluster's first entry, and changes of its settings. Called by `request::plan`; certificates and
//! tokens are made by the shell and only stored here.

use super::{Response, check_version};
use crate::{
    model::{Cluster, ClusterSpec, Node, Version},
    refusal::{Refusal, RefusalCode},
    store::{Change, StoreView},
    validate,
};

type Planned = Result<(Vec<Change>, Response), Refusal>;

pub(super) fn bootstrap(view: &StoreView, cluster: &Cluster, node: &Node) -> Planned {
    if let Some(there) = view.cluster() {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format!("this manager already belongs to cluster {}", there.id),
        ));
    }
    if let Some(refusal) = Refusal::of_faults(validate::cluster(&cluster.spec)) {
        return Err(refusal);
    }
    let response = Response::Node { id: node.id.clone() };
    Ok((vec![cluster.clone().into(), node.clone().into()], response))
}

pub(super) fn update(view: &StoreView, version: Version, spec: &ClusterSpec) -> Planned {
    let Some(cluster) = view.cluster() else {
        return Err(Refusal::new(RefusalCode::NotFound, "there is no cluster yet"));
    };
    check_version("cluster", &cluster.spec.name, version, cluster.meta.version)?;
    if let Some(refusal) = Refusal::of_faults(validate::cluster(spec)) {
        return Err(refusal);
    }
    if *spec == cluster.spec {
        return Ok((Vec::new(), Response::Done));
    }
    let next = Cluster {
        spec: spec.clone(),
        ..Cluster::clone(cluster)
    };
    Ok((vec![next.into()], Response::Done))
}
