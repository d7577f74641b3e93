//! A volume of this node as a row of `volume ls`.
//!
//! Docker's two columns; the others are for formats.

use crate::{
    output::{Column, Listing},
    units::rfc3339,
};
use shoal_api::v1::Volume;
use shoal_core::model::WallTime;

const COLUMNS: &[Column] = &[
    // First, since it is what `-q` shows; the table shows it second, as Docker's does.
    Column::hidden("Name", "VOLUME NAME"),
    Column::new("Driver", "DRIVER"),
    Column::new("VolumeName", "VOLUME NAME"),
    Column::hidden("Mountpoint", "MOUNTPOINT"),
    Column::hidden("Scope", "SCOPE"),
    Column::hidden("CreatedAt", "CREATED AT"),
    Column::hidden("Links", "LINKS"),
    Column::hidden("Anonymous", "ANONYMOUS"),
];

pub(crate) fn listing(volumes: &[Volume]) -> Listing {
    let mut volumes: Vec<_> = volumes.iter().collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listing = Listing::new(COLUMNS);
    for volume in volumes {
        listing.push(vec![
            volume.name.as_str().into(),
            "local".into(),
            volume.name.as_str().into(),
            volume.path.as_str().into(),
            "local".into(),
            rfc3339(WallTime(volume.created_at)).into(),
            volume.containers.to_string().into(),
            volume.anonymous.into(),
        ]);
    }
    listing
}
