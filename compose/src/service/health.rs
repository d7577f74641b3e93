//! `healthcheck`: how the container is asked whether it works.
//!
//! Absent values stay absent: the image's, then Docker's, are the runtime's business.

use crate::{
    keys,
    reader::{Field, Reader},
    tree::Value,
};
use shoal_core::model::{HealthCheck, HealthTest};

pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<HealthCheck> {
    let mut health = HealthCheck::default();
    let mut disable = false;
    for (key, inner) in reader.entries(field, keys::HEALTHCHECK) {
        match key {
            "test" => health.test = test(reader, &inner),
            "disable" => disable = reader.boolean(&inner).unwrap_or_default(),
            "interval" => health.interval = reader.duration(&inner),
            "timeout" => health.timeout = reader.duration(&inner),
            "start_period" => health.start_period = reader.duration(&inner),
            "start_interval" => health.start_interval = reader.duration(&inner),
            _ => health.retries = reader.parsed(&inner, "a number of tries"),
        }
    }
    if disable {
        health.test = Some(HealthTest::None);
    }
    (health != HealthCheck::default()).then_some(health)
}

fn test(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<HealthTest> {
    if matches!(field.node.value, Value::Scalar(_)) {
        return reader.text(field).map(HealthTest::CmdShell);
    }
    let mut words = reader.texts(field);
    let first = if words.is_empty() {
        String::new()
    } else {
        words.remove(0)
    };
    match (first.as_str(), words.as_mut_slice()) {
        ("NONE", []) => Some(HealthTest::None),
        ("CMD", [_, ..]) => Some(HealthTest::Cmd(words)),
        ("CMD-SHELL", [command]) => Some(HealthTest::CmdShell(std::mem::take(command))),
        _ => {
            reader.error(
                field,
                r#"expected ["NONE"], ["CMD", program, arguments…] or ["CMD-SHELL", command]"#,
            );
            None
        }
    }
}
