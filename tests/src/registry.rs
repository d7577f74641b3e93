//! A registry of images on a host: Debian's, plain, with one image; and a slow way to it.
//!
//! It is a process of the host: whoever started it drops it before the host is finished.

use crate::{ANSWER, Host, PATIENCE, dist, hello_image, until};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    process::Child,
    thread,
    time::Duration,
};

/// Where it is, and where it is slow.
const PLACE: &str = "127.0.0.1:5000";
const SLOW_PLACE: &str = "127.0.0.1:5001";

/// Over the slow way so much comes at once, and then nothing for a while.
const PIECE: usize = 8 << 10;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Registry {
    process: Child,
}

impl Registry {
    /// What the daemon must be told to use it.
    pub fn daemon_args() -> Vec<String> {
        [PLACE, SLOW_PLACE]
            .into_iter()
            .flat_map(|place| ["--insecure-registry".to_owned(), place.to_owned()])
            .collect()
    }

    /// On 127.0.0.1:5000 of the host, with the image `hello:1`.
    pub fn start(host: &Host) -> Result<Self> {
        let config = host.folder().join("registry.yml");
        let root = host.folder().join("registry").display().to_string();
        fs::write(
            &config,
            format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: \"{PLACE}\"}}\nlog: {{level: error}}\n",
            ),
        )?;
        let mut command = host.command("docker-registry");
        let process = command.arg("serve").arg(&config).spawn()?;
        let registry = Self { process };
        until("the registry", PATIENCE, || {
            host.run("curl", &format!("-sf http://{PLACE}/v2/"))
        })?;
        let archive = hello_image(&dist())?.display().to_string();
        host.run(
            "skopeo",
            &format!("copy -q --dest-tls-verify=false docker-archive:{archive} docker://{PLACE}/hello:1"),
        )?;
        Ok(registry)
    }

    /// A way to it on 127.0.0.1:5001 by which everything takes its time.
    pub fn slowly(&self, host: &Host) -> Result<()> {
        let net = host.net()?;
        let there = net.again()?;
        net.listen(SLOW_PLACE, move |client| {
            // Whoever asks sees a connection that ends.
            if let Ok(server) = there.connect(PLACE) {
                drop(relay(client, server));
            }
        })
    }
}

/// Both ways at once, on threads of their own.
fn relay(client: TcpStream, server: TcpStream) -> Result<()> {
    for stream in [&client, &server] {
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(ANSWER))?;
    }
    let (mut asks, mut is_asked) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        drop(io::copy(&mut asks, &mut is_asked));
        drop(is_asked.shutdown(Shutdown::Write));
    });
    thread::spawn(move || {
        drop(trickle(&server, &client));
        drop(client.shutdown(Shutdown::Both));
    });
    Ok(())
}

fn trickle(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            length => to.write_all(&piece[..length]).context("nobody reads")?,
        }
        thread::park_timeout(PAUSE);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
