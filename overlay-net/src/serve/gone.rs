//! Containers that are gone, though nobody said so yet.
//!
//! Looked for by the loop in `serve`. Whoever is connected will say so, and changes the kernel's part; while nobody is, it
//! is changed from here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Serve, chain};
use crate::engine::take_out;
use crate::message::Asker;
use crate::namespace::NamespaceId;

impl Serve {
    /// Our sockets are the last thing that a namespace is there for.
    pub(super) fn forget_the_gone(&mut self, alone: bool) {
        let gone = |asker: &Asker| NamespaceId::of(&asker.namespace).map_or(true, |id| id != asker.id);
        let served = self
            .endpoints
            .extract_if(.., |_, endpoint| gone(&endpoint.asker()));
        let adopted = self.adopted.extract_if(.., |_, (asker, _)| gone(asker));
        let deaf = self.deaf.extract_if(.., |_, asker| gone(asker));
        // Until nobody is led there a namespace is kept: it refuses a connection at once, and none would not answer.
        let served: BTreeMap<_, _> = served.collect();
        let adopted: BTreeMap<_, _> = adopted.collect();
        let all = served.iter().map(|(id, endpoint)| (id.clone(), endpoint.asker()));
        let all = all.chain(adopted.iter().map(|(id, (asker, _))| (id.clone(), asker.clone())));
        for (id, asker) in all.chain(deaf) {
            tracing::debug!(%id, "a container is gone");
            self.gone.insert(id, asker.addresses);
        }
        if alone {
            self.take_out_the_gone();
        }
    }

    /// Nobody else does it now; who comes back begins anew.
    fn take_out_the_gone(&mut self) {
        let addresses: BTreeSet<IpAddr> = self.gone.values().flatten().copied().collect();
        if addresses.is_empty() {
            return;
        }
        self.shared.names.borrow_mut().forget(&addresses);
        self.ports.forget(&addresses);
        match take_out(&self.router.tag, &self.router.path, &addresses) {
            Ok(()) => {
                tracing::info!(?addresses, "took out who is gone, without a network");
                self.gone.clear();
            }
            Err(error) => {
                tracing::warn!(
                    ?addresses,
                    error = chain(&error),
                    "who is gone cannot be taken out; trying again"
                );
            }
        }
    }
}
