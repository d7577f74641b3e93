//! Pieces of rules that several tables use.
//!
//! Each loads what it compares into the first register and goes on only if that fits; joined, they are a rule.

use crate::address::Prefix;
use crate::nft::{Compare, Expression, Family, Meta, Register, Verdict, Word};

/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`.
const DESTINATION_CHANGED: u32 = 1 << 5;

/// Goes on only with packets that came in by this link.
pub(super) fn comes_in_by(link: &str) -> Vec<Expression> {
    by(Meta::InputName, Compare::Equal, link)
}

/// Goes on only with packets that go out by this link.
pub(super) fn goes_out_by(link: &str) -> Vec<Expression> {
    by(Meta::OutputName, Compare::Equal, link)
}

/// Goes on only with packets that go out by another link.
pub(super) fn goes_out_by_other(link: &str) -> Vec<Expression> {
    by(Meta::OutputName, Compare::NotEqual, link)
}

fn by(which: Meta, how: Compare, link: &str) -> Vec<Expression> {
    let mut name = link.as_bytes().to_vec();
    name.push(0);
    vec![
        Expression::meta(which, Register(0)),
        Expression::compare(Register(0), how, &name),
    ]
}

/// Goes on only with packets of connections that are known, and with what was said about them.
pub(super) fn known() -> Vec<Expression> {
    bits(Expression::connection_state(Register(0)), ESTABLISHED_OR_RELATED)
}

/// Goes on only with packets of connections whose destination was changed.
pub(super) fn redirected() -> Vec<Expression> {
    bits(Expression::connection_status(Register(0)), DESTINATION_CHANGED)
}

fn bits(load: Expression, bits: u32) -> Vec<Expression> {
    vec![
        load,
        Expression::mask(Register(0), &bits.to_ne_bytes()),
        Expression::compare(Register(0), Compare::NotEqual, &0_u32.to_ne_bytes()),
    ]
}

/// Goes on only with packets from a range.
pub(super) fn from(prefix: Prefix) -> Vec<Expression> {
    let family = Family::of(prefix.address());
    within(Expression::source(family, Register(0)), prefix, Compare::Equal)
}

/// Goes on only with packets to a range.
pub(super) fn to(prefix: Prefix) -> Vec<Expression> {
    let family = Family::of(prefix.address());
    within(
        Expression::destination(family, Register(0)),
        prefix,
        Compare::Equal,
    )
}

/// Goes on only with packets to addresses outside a range.
pub(super) fn not_to(prefix: Prefix) -> Vec<Expression> {
    let family = Family::of(prefix.address());
    within(
        Expression::destination(family, Register(0)),
        prefix,
        Compare::NotEqual,
    )
}

fn within(load: Expression, prefix: Prefix, how: Compare) -> Vec<Expression> {
    let mut steps = vec![load];
    let address = Word::from(prefix.address());
    let bits = address.as_bytes().len() * 8;
    if usize::from(prefix.length()) < bits {
        let mut mask = vec![0; bits / 8];
        for bit in 0..usize::from(prefix.length()) {
            mask[bit / 8] |= 0x80 >> (bit % 8);
        }
        steps.push(Expression::mask(Register(0), &mask));
    }
    steps.push(Expression::compare(Register(0), how, address.as_bytes()));
    steps
}

/// What comes before, then a verdict.
pub(super) fn then(mut steps: Vec<Expression>, verdict: &Verdict) -> Vec<Expression> {
    steps.push(Expression::verdict(verdict));
    steps
}

/// Several steps as one rule.
pub(super) fn all(parts: impl IntoIterator<Item = Vec<Expression>>) -> Vec<Expression> {
    parts.into_iter().flatten().collect()
}

/// Two rules that refuse a packet: TCP by a reset, which the kernel always sends, where it sends only so many of the
/// other answers a second.
pub(super) fn refuse(otherwise: Expression) -> Vec<Vec<Expression>> {
    let tcp = [crate::desired::Protocol::Tcp.number()];
    let reset = vec![
        Expression::meta(Meta::Protocol, Register(0)),
        Expression::compare(Register(0), Compare::Equal, &tcp),
        Expression::reset(),
    ];
    vec![reset, vec![otherwise]]
}
