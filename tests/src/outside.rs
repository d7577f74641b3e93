//! A machine outside of a host: a namespace of its own at the other end of the host's uplink.
//!
//! It is the host's way out and its client from elsewhere: only what it asks passes the host's FORWARD.

use crate::{Host, Netns};
use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// The host's addresses on its uplink, and those of the machine outside.
pub const HOST_V4: &str = "192.0.2.2";
pub const HOST_V6: &str = "2001:db8::2";
pub const OUTSIDE_V4: &str = "192.0.2.9";
pub const OUTSIDE_V6: &str = "2001:db8::9";

#[derive(Debug)]
pub struct Outside {
    keeper: Child,
    pub net: Netns,
}

impl Outside {
    /// Wires it to the host, whose default route it becomes.
    pub fn new(host: &Host) -> Result<Self> {
        let mut keeper = Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec sleep infinity",
            ])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().context("no output")?).read_line(&mut line)?;
        ensure!(
            line.trim() == "up",
            "the machine outside did not come up: {line:?}"
        );
        let pid = keeper.id().to_string();
        let net = Netns::of(&pid)?;
        let outside = Self { keeper, net };
        host.run(
            "ip",
            &format!("link add uplink type veth peer name uplink netns {pid}"),
        )?;
        for words in settle(HOST_V4, HOST_V6) {
            host.run("ip", &words)?;
        }
        for words in settle(OUTSIDE_V4, OUTSIDE_V6) {
            outside.run("ip", &words)?;
        }
        host.run("ip", &format!("route add default via {OUTSIDE_V4}"))?;
        host.run("ip", &format!("-6 route add default via {OUTSIDE_V6}"))?;
        Ok(outside)
    }

    /// Runs a program there, which must succeed.
    pub fn run(&self, program: &str, words: &str) -> Result<String> {
        self.net.run(program, words)
    }

    /// Answers HTTP on a port with the address that asked.
    pub fn serve(&self, port: u16) -> Result<()> {
        self.net.tell_who_asks(port)
    }
}

fn settle(v4: &str, v6: &str) -> [String; 3] {
    [
        format!("addr add {v4}/24 dev uplink"),
        format!("addr add {v6}/64 dev uplink nodad"),
        "link set uplink up".to_owned(),
    ]
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}
