//! A service's VIP beside the address of the container behind it: the time of an exchange, connections a second.
//!
//! One after the other, in turns, over the same links; what is given is VIP over direct.

use super::Pair;
use crate::bench::report::{Better, Figure, Report};
use anyhow::{Context, Result};
use shoal_tests::Netns;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const PORT: u16 = 9000;

const ROUNDS: usize = 20;

/// Exchanges of one byte over one connection, and connections one after the other: of each round.
const EXCHANGES: usize = 2_000;
const CONNECTIONS: usize = 500;

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn measure(pair: &Pair, report: &mut Report) -> Result<()> {
    pair.target.listen(&format!("0.0.0.0:{PORT}"), |stream| {
        // A client that is done closes: that is the end of it.
        drop(repeat(stream));
    })?;
    let place = |name: &str| -> Result<SocketAddr> { Ok(format!("{}:{PORT}", pair.address(name)?).parse()?) };
    let (vip, direct) = (place("target")?, place("tasks.target")?);
    let (mut latencies, mut rates) = (Vec::new(), Vec::new());
    let mut middles = Vec::new();
    for _ in 0..ROUNDS {
        let (through, straight) = (exchange(&pair.asker, vip)?, exchange(&pair.asker, direct)?);
        middles.push(straight);
        latencies.push(through.as_secs_f64() / straight.as_secs_f64());
        let (through, straight) = (connect(&pair.asker, vip)?, connect(&pair.asker, direct)?);
        rates.push(straight.as_secs_f64() / through.as_secs_f64());
    }
    middles.sort();
    report.add(Figure {
        name: "an exchange through a VIP, as a part of the time of a direct one",
        unit: "",
        goal: 1.1,
        better: Better::Less,
        samples: latencies,
        remark: format!(
            "medians of {EXCHANGES} exchanges of one byte over one connection between two containers; a direct one took {:.1} µs",
            middles[ROUNDS / 2].as_secs_f64() * 1e6
        ),
    })?;
    report.add(Figure {
        name: "new connections through a VIP, as a part of direct ones",
        unit: "",
        goal: 0.9,
        better: Better::More,
        samples: rates,
        remark: format!("{CONNECTIONS} one after the other, opened, one byte exchanged, closed"),
    })
}

fn repeat(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| to.to_string())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn once(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(())
}

/// The median of an exchange.
fn exchange(from: &Netns, to: SocketAddr) -> Result<Duration> {
    let measure = || -> Result<Duration> {
        let mut stream = open(to)?;
        let mut times = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let begun = Instant::now();
            once(&mut stream)?;
            times.push(begun.elapsed());
        }
        times.sort();
        Ok(times[EXCHANGES / 2])
    };
    from.inside(measure)?
}

/// The time of all connections.
fn connect(from: &Netns, to: SocketAddr) -> Result<Duration> {
    let measure = || -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..CONNECTIONS {
            once(&mut open(to)?)?;
        }
        Ok(begun.elapsed())
    };
    from.inside(measure)?
}
