//! A name asked for 10,000 times a second by one container: how long an answer takes.
//!
//! Questions go out by the clock, whether or not earlier ones were answered, as they would from many programs.

use super::Pair;
use crate::bench::report::{Better, Figure, Report};
use anyhow::{Result, ensure};
use shoal_tests::{RESOLVER, question};
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::UdpSocket,
    time::{Duration, Instant},
};

const RATE: u32 = 10_000;
const ROUNDS: usize = 10;
/// Of a round of one second: fewer answers than this mean that the rate was not carried.
const LEAST: usize = 9_900;
/// Questions that took longer than this to go out were fewer a second than they should have been.
const LONGEST: Duration = Duration::from_millis(1_010);

/// What has not come this long after the last question is lost.
const LAST: Duration = Duration::from_millis(500);

pub(crate) fn measure(pair: &Pair, report: &mut Report) -> Result<()> {
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let Round { asked_in, mut times } = pair.asker.inside(ask_for_a_second)??;
        ensure!(
            asked_in <= LONGEST,
            "{RATE} questions took {asked_in:?} to be asked, at most {LONGEST:?} is a rate of {RATE} a second: measure on \
             a machine that does nothing else"
        );
        ensure!(
            times.len() >= LEAST,
            "{} of {RATE} questions were answered",
            times.len()
        );
        times.sort();
        samples.push(times[times.len() / 2].as_secs_f64() * 1000.0);
    }
    report.add(Figure {
        name: "a service's name answered, median under 10,000 questions a second",
        unit: "ms",
        goal: 0.1,
        better: Better::Less,
        samples,
        remark: "one container asks over UDP; who asks runs on the same two cores".to_owned(),
    })
}

struct Round {
    /// From the first question to the last.
    asked_in: Duration,
    /// Of each answer that came.
    times: Vec<Duration>,
}

fn ask_for_a_second() -> Result<Round> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(RESOLVER)?;
    socket.set_nonblocking(true)?;
    let mut question = question("target", 1)?;
    let mut asked: BTreeMap<u16, Instant> = BTreeMap::new();
    let mut times = Vec::new();
    let begun = Instant::now();
    let mut asked_in = Duration::ZERO;
    let mut next: u16 = 0;
    while u32::from(next) < RATE || begun.elapsed() < Duration::from_secs(1) + LAST {
        if u32::from(next) < RATE && begun.elapsed() >= Duration::from_secs(1) / RATE * u32::from(next) {
            question[..2].copy_from_slice(&next.to_be_bytes());
            asked.insert(next, Instant::now());
            socket.send(&question)?;
            asked_in = begun.elapsed();
            next += 1;
        }
        let mut answer = [0; 512];
        match socket.recv(&mut answer) {
            Ok(_) => {
                let id = u16::from_be_bytes([answer[0], answer[1]]);
                times.extend(asked.remove(&id).map(|then| then.elapsed()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if u32::from(next) == RATE && asked.is_empty() {
                    break;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Round { asked_in, times })
}
