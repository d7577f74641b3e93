//! The pure planner as a whole: scenario scripts with golden output, properties over random histories,
//! and what a large cluster costs.

#[cfg(test)]
#[path = "planning/large.rs"]
mod large;
#[cfg(test)]
#[path = "planning/properties.rs"]
mod properties;
#[cfg(test)]
#[path = "planning/scenarios.rs"]
mod scenarios;
#[cfg(test)]
#[path = "planning/world.rs"]
mod world;
