//! `cargo xtask image`: the images of the examples, written as `docker save` would write them.
//!
//! The demo's has one static file of this tree; those of `compose-examples/web-and-redis` have programs from Debian's
//! packages. No registry is needed, and the same files always give the same archives.

use crate::{build::build_hello, command::root};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

mod archive;
mod debian;

use archive::{Layer, saved_image};

/// Debian's busybox is one static program; it finds its applets by the name it is called by.
const BUSYBOX: &str = "bin/busybox";

/// The applets that the page of the example and whoever looks around in its container use.
const APPLETS: [&str; 21] = [
    "sh", "cat", "env", "head", "hostname", "httpd", "ip", "ls", "nc", "netstat", "nslookup", "ping", "ps",
    "printf", "sed", "sleep", "stty", "tr", "true", "vi", "wget",
];

pub(crate) fn run() -> Result<()> {
    demo()?;
    save("web.tar", "shoal-example/web:1", web()?)?;
    save("redis.tar", "shoal-example/redis:1", redis()?)?;
    Ok(())
}

/// The demo's image alone; gives its archive.
pub(crate) fn demo() -> Result<PathBuf> {
    save("hello.tar", "hello:1", hello()?)
}

fn save(name: &str, reference: &str, (config, layer): (Value, Layer)) -> Result<PathBuf> {
    let folder = root().join("target/dist");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, saved_image(reference, &config, &layer)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(path)
}

/// The demo's: its program and nothing else.
fn hello() -> Result<(Value, Layer)> {
    let mut layer = Layer::default();
    layer.file("hello", 0o755, read(&build_hello()?)?);
    let config = json!({ "Entrypoint": ["/hello"], "Cmd": ["about"], "Env": ["PATH=/"] });
    Ok((config, layer))
}

/// A web server whose page counts visits.
fn web() -> Result<(Value, Layer)> {
    let mut layer = Layer::default();
    accounts(&mut layer);
    let package = debian::unpacked("busybox-static")?;
    layer.file(BUSYBOX, 0o755, read(&package.join(BUSYBOX))?);
    for applet in APPLETS {
        layer.link(&format!("bin/{applet}"), "busybox");
    }
    let page = root().join("compose-examples/web-and-redis/web/index.cgi");
    layer.file("www/cgi-bin/index.cgi", 0o755, read(&page)?);
    let config = json!({
        "Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"],
        "Env": ["PATH=/bin"],
        "ExposedPorts": { "80/tcp": {} },
        // It keeps nothing, and process 1 has no default action for SIGTERM.
        "StopSignal": "SIGKILL",
    });
    Ok((config, layer))
}

/// The counter.
fn redis() -> Result<(Value, Layer)> {
    let mut layer = Layer::default();
    accounts(&mut layer);
    layer.folder("data");
    let package = debian::unpacked("redis-tools")?;
    for program in ["usr/bin/redis-check-rdb", "usr/bin/redis-cli"] {
        debian::add_program(&mut layer, &package, program)?;
    }
    // One program under several names; which it is, it reads from its own.
    layer.link("usr/bin/redis-server", "redis-check-rdb");
    let config = json!({
        "Entrypoint": ["redis-server"],
        // Whoever can reach it may use it: its network says who that is.
        "Cmd": ["--protected-mode", "no", "--dir", "/data"],
        "Env": ["PATH=/usr/bin"],
        "ExposedPorts": { "6379/tcp": {} },
        "WorkingDir": "/data",
    });
    Ok((config, layer))
}

fn accounts(layer: &mut Layer) {
    layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n".to_vec());
    layer.file("etc/group", 0o644, b"root:x:0:\n".to_vec());
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
