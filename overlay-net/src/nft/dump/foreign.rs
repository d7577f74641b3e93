//! Chains of other tools, as far as it matters whether they let packets of ours pass.
//!
//! Their rules are not understood, but for those that stop everything and those that accept everything of a link.

use super::{Named, RuleState, read_base, read_rule, read_verdict};
use crate::netlink::{Attributes, NetlinkError, attributes, u32_be};
use crate::nft::wire::{self, nft};
use crate::nft::{ChainType, Hook, NftSocket, Verdict};

/// A chain of another tool's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// `ip`, `ip6` or `inet`, as the kernel numbers them.
    pub family: u8,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The hook, for base chains that filter.
    pub hook: Option<Hook>,
    /// Whether what reaches the end is dropped.
    pub drops: bool,
    /// In their order.
    pub rules: Vec<ForeignRule>,
}

/// A rule of another tool's, or of ours in its chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignRule {
    /// Comment and number.
    pub rule: RuleState,
    /// Whether it drops or refuses every packet, with no condition.
    pub stops_all: bool,
    /// The way by which it accepts every packet.
    pub accepts: Option<Way>,
}

/// A way of packets by a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// They come in by it.
    In(String),
    /// They go out by it.
    Out(String),
}

impl NftSocket {
    /// The chains of all tables whose names do not begin with `ours`, with their rules.
    pub fn foreign(&mut self, ours: &str) -> Result<Vec<ForeignChain>, NetlinkError> {
        let header = wire::header(0, 0);
        let mut chains = self.0.dump(
            nft(wire::NFT_MSG_GETCHAIN),
            &header,
            |_| {},
            Vec::new,
            |chains: &mut Vec<ForeignChain>, _, body| chains.extend(read_foreign(body, ours)),
        )?;
        let rules: Vec<(u8, String, String, ForeignRule)> = self.0.dump(
            nft(wire::NFT_MSG_GETRULE),
            &header,
            |_| {},
            Vec::new,
            |rules, _, body| {
                let Some((header, list)) = body.split_first_chunk::<4>() else {
                    return;
                };
                let list = attributes(list);
                if let Some(named) = Named::of_rule(&list).filter(|named| !named.table.starts_with(ours)) {
                    let (table, chain) = (named.table.to_owned(), named.chain.to_owned());
                    let rule = ForeignRule {
                        rule: read_rule(&list),
                        stops_all: stops_all(&list),
                        accepts: accepts(&list),
                    };
                    rules.push((header[0], table, chain, rule));
                }
            },
        )?;
        for (family, table, chain, rule) in rules {
            let home = chains
                .iter_mut()
                .find(|c| (c.family, &c.table, &c.chain) == (family, &table, &chain));
            if let Some(home) = home {
                home.rules.push(rule);
            }
        }
        Ok(chains)
    }
}

fn read_foreign(body: &[u8], ours: &str) -> Option<ForeignChain> {
    let (header, list) = body.split_first_chunk::<4>()?;
    let list = attributes(list);
    let table = list.clone().text(wire::NFTA_CHAIN_TABLE)?;
    if table.starts_with(ours) {
        return None;
    }
    let base = read_base(&list).filter(|base| base.kind == ChainType::Filter);
    let policy = list.clone().get(wire::NFTA_CHAIN_POLICY).and_then(u32_be);
    Some(ForeignChain {
        family: header[0],
        table: table.to_owned(),
        chain: list.text(wire::NFTA_CHAIN_NAME)?.to_owned(),
        hook: base.map(|base| base.hook),
        drops: base.is_some() && policy == Some(wire::NF_DROP.unsigned_abs()),
        rules: Vec::new(),
    })
}

/// A rule whose every expression only counts or logs before it drops or refuses.
fn stops_all(list: &Attributes<'_>) -> bool {
    let expressions = list.clone().get(wire::NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    for (_, expression) in attributes(expressions) {
        let fields = attributes(expression);
        let data = attributes(fields.clone().get(wire::NFTA_EXPR_DATA).unwrap_or_default());
        match fields.text(wire::NFTA_EXPR_NAME) {
            Some("counter" | "log") => {}
            // The `iptables` program writes some of its rules with its own old parts.
            Some("match") if data.clone().text(1) == Some("comment") => {}
            Some("target") => return data.text(1) == Some("REJECT"),
            Some("reject") => return true,
            Some("immediate") => {
                let verdict = attributes(data.get(2).unwrap_or_default()).get(wire::NFTA_DATA_VERDICT);
                return verdict.and_then(read_verdict) == Some(Verdict::Drop);
            }
            _ => return false,
        }
    }
    false
}

/// A rule whose only condition is a link, and that does nothing but count, log and accept.
fn accepts(list: &Attributes<'_>) -> Option<Way> {
    let expressions = list.clone().get(wire::NFTA_RULE_EXPRESSIONS)?;
    let (mut kind, mut link) = (None, None);
    for (_, expression) in attributes(expressions) {
        let fields = attributes(expression);
        let data = attributes(fields.clone().get(wire::NFTA_EXPR_DATA)?);
        match fields.text(wire::NFTA_EXPR_NAME)? {
            "counter" | "log" => {}
            "meta" if kind.is_none() => kind = Some(data.get(2).and_then(u32_be)?),
            "cmp" if kind.is_some() && link.is_none() => {
                data.clone().get(2).and_then(u32_be).filter(|how| *how == 0)?;
                let name = attributes(data.get(3)?).get(wire::NFTA_DATA_VALUE)?;
                // Without the zero behind it, it is the beginning of many names.
                let (name, _) = name.split_at_checked(name.iter().position(|byte| *byte == 0)?)?;
                link = Some(String::from_utf8_lossy(name).into_owned());
            }
            "immediate" => {
                let verdict = attributes(data.get(2)?).get(wire::NFTA_DATA_VERDICT)?;
                read_verdict(verdict).filter(|verdict| *verdict == Verdict::Accept)?;
                return match kind? {
                    wire::NFT_META_IIFNAME => Some(Way::In(link?)),
                    wire::NFT_META_OIFNAME => Some(Way::Out(link?)),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
    None
}
