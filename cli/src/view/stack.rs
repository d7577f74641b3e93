//! A stack as a row of `stack ls`.
//!
//! Docker's two columns; the others are for formats.

use crate::{
    output::{Column, Listing},
    units::{ago, rfc3339},
};
use shoal_api::v1::StackSummary;
use shoal_core::model::WallTime;

const COLUMNS: &[Column] = &[
    Column::new("Name", "NAME"),
    Column::new("Services", "SERVICES"),
    Column::hidden("Networks", "NETWORKS"),
    Column::hidden("ID", "ID"),
    Column::hidden("Revision", "REVISION"),
    Column::hidden("UpdatedAt", "UPDATED AT"),
    Column::hidden("Updated", "UPDATED"),
];

pub(crate) fn listing(stacks: &[StackSummary], now: WallTime) -> Listing {
    let mut stacks: Vec<_> = stacks.iter().collect();
    stacks.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listing = Listing::new(COLUMNS);
    for stack in stacks {
        let updated = WallTime(stack.meta.as_ref().map_or(0, |meta| meta.updated_at));
        listing.push(vec![
            stack.name.as_str().into(),
            stack.services.to_string().into(),
            stack.networks.to_string().into(),
            stack.id.as_str().into(),
            stack.revision.into(),
            rfc3339(updated).into(),
            ago(updated, now).into(),
        ]);
    }
    listing
}
