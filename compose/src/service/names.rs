//! `dns`, `dns_search`, `dns_opt`, `extra_hosts`: what a container resolves beside the cluster's names.
//!
//! Called by the reader of a service. Whether a name server answers is nobody's business here.

use crate::reader::{Field, Reader};
use shoal_core::model::ContainerSpec;
use std::net::IpAddr;

/// Stands for the address under which a container reaches its host.
const HOST_GATEWAY: &str = "host-gateway";

/// Takes the keys of this file; says whether `key` was one of them.
pub(super) fn take(
    reader: &mut Reader<'_>,
    container: &mut ContainerSpec,
    key: &str,
    field: &Field<'_>,
) -> bool {
    match key {
        "dns" => {
            for item in reader.one_or_list(field) {
                let address = reader.parsed::<IpAddr>(&item, "the address of a resolver");
                container.dns.servers.extend(address);
            }
        }
        "dns_search" => {
            let items = reader.one_or_list(field);
            container.dns.search = items.iter().filter_map(|item| reader.text(item)).collect();
        }
        "dns_opt" => container.dns.options = reader.texts(field),
        "extra_hosts" => container.extra_hosts = extra_hosts(reader, field),
        _ => return false,
    }
    true
}

/// `NAME=ADDRESS` (or with a colon) in a list, or names with one address or several.
fn extra_hosts(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    if field.is_mapping() {
        for (name, inner) in reader.named(field) {
            for item in reader.one_or_list(&inner) {
                let address = reader.text(&item).unwrap_or_default();
                pairs.push((name.to_owned(), address, item));
            }
        }
    } else {
        for item in reader.list(field) {
            let Some(text) = reader.text(&item) else { continue };
            match text.split_once(['=', ':']) {
                Some((name, address)) => pairs.push((name.to_owned(), address.to_owned(), item)),
                None => reader.error(&item, format!("expected NAME=ADDRESS, found {text:?}")),
            }
        }
    }
    let mut hosts = Vec::new();
    for (name, address, item) in pairs {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let known = bare == HOST_GATEWAY || bare.parse::<IpAddr>().is_ok();
        if name.is_empty() || name.contains(char::is_whitespace) || !known {
            reader.error(
                &item,
                format!("expected a name and an address, found {name:?} and {address:?}"),
            );
        } else {
            hosts.push((name, bare.to_owned()));
        }
    }
    hosts
}
