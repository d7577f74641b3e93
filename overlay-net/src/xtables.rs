//! What `iptables-legacy` does with packets that pass through: it keeps its rules apart from nftables, where nobody
//! else sees them.
//!
//! Looked at for the list of problems and never changed: the kernel takes such tables as a whole only, and who else is
//! about to change one would lose what he does. Asked only for tables that are there, since asking makes them.

use std::fs;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::netlink::{u16_ne, u32_ne};
use crate::nft::Family;
use crate::sys::{FilterOption, get_filter_option};

const TABLE: &str = "filter";
/// `XT_TABLE_MAXNAMELEN`.
const TABLE_NAME: usize = 32;
/// `struct ipt_getinfo`: the name, the hooks, where each begins and where its policy is, how many rules, how long.
const INFO: usize = TABLE_NAME + 13 * 4;
const INFO_BEGINS: usize = TABLE_NAME + 4;
const INFO_POLICIES: usize = INFO_BEGINS + 5 * 4;
const INFO_SIZE: usize = INFO - 4;
/// `NF_INET_FORWARD`.
const FORWARD: usize = 2;
/// `struct ipt_get_entries` before its rules.
const ENTRIES: usize = TABLE_NAME + 8;
/// Longer tables, of some 100,000 rules, are not read.
const SIZE_MOST: usize = 32 << 20;
/// The table may change between the two questions.
const ATTEMPTS: usize = 3;
const TARGET_NAME: usize = 29;
const TARGET_DATA: usize = 32;
/// The longest name of a link, and the zero behind it.
const LINK_NAME: usize = 16;

const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;

/// Where things are in a rule of a family: `struct ipt_entry`, `struct ip6t_entry`.
struct Layout {
    /// What packets it is for, and the first of two names of links in it.
    conditions: usize,
    links: usize,
    /// Where its further conditions begin, and where it is said where they end; the length of the rule follows.
    head: usize,
    target: usize,
}

const fn layout(family: Family) -> Layout {
    match family {
        Family::V4 => Layout {
            conditions: 84,
            links: 16,
            head: 112,
            target: 88,
        },
        Family::V6 => Layout {
            conditions: 136,
            links: 64,
            head: 168,
            target: 140,
        },
    }
}

/// Whether packets from or to a link are dropped on their way through the calling thread's namespace, as far as that
/// can be told.
pub(crate) fn blocks(family: Family, link: &str) -> Result<bool, Errno> {
    if !is_there(family) {
        return Ok(false);
    }
    let kind = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let socket = socket_with(kind, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    for _ in 0..ATTEMPTS {
        let mut info = named(INFO);
        get_filter_option(&socket, kind, FilterOption::Info, &mut info)?;
        let number = |at: usize| {
            info.get(at..)
                .and_then(u32_ne)
                .and_then(|n| usize::try_from(n).ok())
        };
        let Some(size) = number(INFO_SIZE).filter(|size| *size <= SIZE_MOST) else {
            return Err(Errno::FBIG);
        };
        let mut entries = named(ENTRIES + size);
        entries[TABLE_NAME..TABLE_NAME + 4].copy_from_slice(&info[INFO_SIZE..INFO]);
        match get_filter_option(&socket, kind, FilterOption::Entries, &mut entries) {
            Ok(_) => {}
            Err(Errno::AGAIN) => continue,
            Err(errno) => return Err(errno),
        }
        let begin = number(INFO_BEGINS + FORWARD * 4).ok_or(Errno::PROTO)?;
        let policy = number(INFO_POLICIES + FORWARD * 4).ok_or(Errno::PROTO)?;
        return stops(&entries[ENTRIES..], begin..=policy, &layout(family), link).ok_or(Errno::PROTO);
    }
    Err(Errno::AGAIN)
}

fn is_there(family: Family) -> bool {
    let list = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let names = fs::read_to_string(list).unwrap_or_default();
    names.lines().any(|name| name == TABLE)
}

fn named(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    bytes
}

/// Whether a chain ends in a drop of what no rule before it accepts from and to a link. Where its rules lead elsewhere
/// is not followed.
fn stops(rules: &[u8], chain: std::ops::RangeInclusive<usize>, layout: &Layout, link: &str) -> Option<bool> {
    let nothing = vec![0; layout.conditions];
    let (from, to) = (of_link(layout, link, 0), of_link(layout, link, 1));
    let (mut from_accepted, mut to_accepted) = (false, false);
    let mut at = *chain.start();
    while at <= *chain.end() {
        let rule = rules.get(at..)?;
        let target = usize::from(u16_ne(rule.get(layout.target..)?)?);
        let length = usize::from(u16_ne(rule.get(layout.target + 2..)?)?);
        let verdict = Verdict::read(rule.get(target..length)?)?;
        let conditions = rule.get(..layout.conditions)?;
        at += length.max(layout.head);
        if target != layout.head {
            continue;
        }
        if conditions == nothing {
            match verdict {
                Verdict::Drop => return Some(true),
                Verdict::Accept => return Some(false),
                Verdict::Return => at = *chain.end(),
                Verdict::Other => {}
            }
        }
        from_accepted |= verdict == Verdict::Accept && conditions == from;
        to_accepted |= verdict == Verdict::Accept && conditions == to;
        if from_accepted && to_accepted {
            return Some(false);
        }
    }
    None
}

/// The conditions of a rule that is for packets by a link: 0, those that come in by it; 1, those that go out by it.
fn of_link(layout: &Layout, link: &str, way: usize) -> Vec<u8> {
    let mut conditions = vec![0; layout.conditions];
    let name = &link.as_bytes()[..link.len().min(LINK_NAME - 1)];
    let at = layout.links + way * LINK_NAME;
    conditions[at..at + name.len()].copy_from_slice(name);
    // The zero behind the name counts as well.
    let mask = at + 2 * LINK_NAME;
    conditions[mask..=mask + name.len()].fill(0xff);
    conditions
}

/// What a rule does with a packet that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Drop,
    Accept,
    Return,
    /// It goes on elsewhere, or only takes note.
    Other,
}

impl Verdict {
    /// `struct xt_entry_target`.
    fn read(target: &[u8]) -> Option<Self> {
        let name = target.get(2..2 + TARGET_NAME)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let data = target.get(TARGET_DATA..).and_then(u32_ne).map(u32::cast_signed);
        Some(match (name, data) {
            (b"REJECT", _) | (b"", Some(DROP)) => Self::Drop,
            (b"", Some(ACCEPT)) => Self::Accept,
            (b"", Some(RETURN)) => Self::Return,
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ACCEPT, DROP, Layout, RETURN, TARGET_DATA, layout, of_link, stops};
    use crate::nft::Family;
    use proptest::prelude::*;

    /// A rule as the kernel lists it.
    fn rule(layout: &Layout, conditions: &[u8], further: usize, target: &str, verdict: i32) -> Vec<u8> {
        let mut rule = vec![0; layout.head + further + TARGET_DATA + 8];
        rule[..conditions.len()].copy_from_slice(conditions);
        let begin = u16::try_from(layout.head + further).unwrap();
        let length = u16::try_from(rule.len()).unwrap();
        rule[layout.target..layout.target + 2].copy_from_slice(&begin.to_ne_bytes());
        rule[layout.target + 2..layout.target + 4].copy_from_slice(&length.to_ne_bytes());
        let at = layout.head + further;
        rule[at + 2..at + 2 + target.len()].copy_from_slice(target.as_bytes());
        rule[at + TARGET_DATA..at + TARGET_DATA + 4].copy_from_slice(&verdict.to_ne_bytes());
        rule
    }

    /// Words: `in` and `out` are for our link, `far` is for another, `match` has a further condition.
    fn check(rules: &[(&str, &str, i32)], policy: i32, expect: bool) {
        for family in Family::ALL {
            let layout = layout(family);
            let mut all = Vec::new();
            for (conditions, target, verdict) in rules {
                let (conditions, further) = match *conditions {
                    "in" => (of_link(&layout, "shoal-1", 0), 0),
                    "out" => (of_link(&layout, "shoal-1", 1), 0),
                    "far" => (of_link(&layout, "shoal-12", 0), 0),
                    "match" => (Vec::new(), 48),
                    _ => (Vec::new(), 0),
                };
                all.extend(rule(&layout, &conditions, further, target, *verdict));
            }
            let end = all.len();
            all.extend(rule(&layout, &[], 0, "", policy));
            let found = stops(&all, 0..=end, &layout, "shoal-1");
            assert_eq!(found, Some(expect), "{family:?} {rules:?} {policy}");
        }
    }

    #[test]
    fn what_a_chain_comes_to_is_known() {
        let (from, to) = (("in", "", ACCEPT), ("out", "", ACCEPT));
        check(&[], ACCEPT, false);
        check(&[], DROP, true);
        check(&[from, to], DROP, false);
        check(&[("far", "", ACCEPT), from], DROP, true);
        check(&[("match", "", DROP)], ACCEPT, false);
        check(
            &[("match", "", ACCEPT), ("", "LOG", 0), ("", "", 152)],
            DROP,
            true,
        );
        check(&[("", "REJECT", 0)], ACCEPT, true);
        check(&[("", "", DROP), from, to], ACCEPT, true);
        check(&[("", "", ACCEPT)], DROP, false);
        check(&[("", "", RETURN), ("", "", DROP)], ACCEPT, false);
        check(&[("", "", RETURN)], DROP, true);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..600), end in 0_usize..700) {
            for family in Family::ALL {
                let _whatever = stops(&bytes, 0..=end, &layout(family), "shoal-1");
            }
        }
    }
}
