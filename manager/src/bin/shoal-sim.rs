//! Runs simulated clusters, one a seed, on all cores, and prints the seeds that failed.
//!
//! `--seeds N --start S` run the product as it is; `--bug NAME` with a planted bug; `--planted` looks for
//! every planted bug; `--placements` prints placements a second, one line a sample. Exit code 1 means
//! that something was found that should not be there, or not found that should.

use shoal_manager::sim::{Counters, Options, Outcome, Placements, PlantedBug, run};
use std::{
    io::{self, Write as _},
    num::NonZero,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// A planted bug must be found within so many seeds.
const SEEDS_A_BUG: u64 = 500;

/// From so many seeds on, every fault must have struck and every wait code must have been seen.
const SEEDS_THAT_PROVE: u64 = 100;

/// Placements are measured on so many nodes, with so many tasks a sample.
const NODES: usize = 5_000;
const TASKS: u32 = 20_000;
const SAMPLES: usize = 5;

struct Arguments {
    seeds: u64,
    start: u64,
    bug: Option<PlantedBug>,
    mode: Mode,
}

enum Mode {
    Seeds,
    Planted,
    Placements,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            writeln!(io::stderr(), "shoal-sim: {message}").ok();
            return ExitCode::from(2);
        }
    };
    // A panic of a member is a finding with a seed, printed as such.
    std::panic::set_hook(Box::new(|_| {}));
    let result = match arguments.mode {
        Mode::Seeds => run_seeds(&arguments),
        Mode::Planted => find_planted(arguments.start),
        Mode::Placements => measure_placements(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr(), "shoal-sim: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 100,
        start: 1,
        bug: None,
        mode: Mode::Seeds,
    };
    while let Some(argument) = arguments.next() {
        let mut number = |name: &str| {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_error| format!("{name} takes a number, found {text:?}"))
        };
        match argument.as_str() {
            "--seeds" => parsed.seeds = number("--seeds")?,
            "--start" => parsed.start = number("--start")?,
            "--planted" => parsed.mode = Mode::Planted,
            "--placements" => parsed.mode = Mode::Placements,
            "--bug" => {
                let name = arguments.next().unwrap_or_default();
                let names = || {
                    PlantedBug::ALL
                        .iter()
                        .map(|bug| bug.name())
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                let bug = PlantedBug::from_name(&name);
                parsed.bug =
                    Some(bug.ok_or_else(|| format!("no bug is called {name:?}; known are {}", names()))?);
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    if cfg!(not(feature = "planted-bugs")) && (parsed.bug.is_some() || matches!(parsed.mode, Mode::Planted)) {
        return Err("bugs can only be planted in a build with the feature planted-bugs".to_owned());
    }
    Ok(parsed)
}

/// Runs seeds from `start` on all cores until they are done or a visit says that it is enough.
fn each_seed(start: u64, seeds: u64, bug: Option<PlantedBug>, visit: impl Fn(Outcome) -> bool + Sync) {
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= seeds {
                return;
            }
            let outcome = run(Options {
                bug,
                ..Options::of_seed(start + number)
            });
            enough.fetch_or(visit(outcome), Ordering::Relaxed);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

fn run_seeds(arguments: &Arguments) -> io::Result<bool> {
    let begun = Instant::now();
    let total = Mutex::new((0_u64, Vec::new(), Counters::default()));
    each_seed(arguments.start, arguments.seeds, arguments.bug, |outcome| {
        if let Ok(mut total) = total.lock() {
            total.0 += outcome.steps;
            total.2.add(&outcome.counters);
            total
                .1
                .extend(outcome.failure.map(|failure| (outcome.seed, failure)));
        }
        false
    });
    let (steps, mut failed, counters) = total.into_inner().unwrap_or_default();
    failed.sort();
    let mut out = io::stdout();
    for (seed, failure) in &failed {
        writeln!(out, "seed {seed}: {failure}")?;
    }
    let time = begun.elapsed().as_secs_f64();
    let rate = steps as f64 / time;
    let (seeds, count) = (arguments.seeds, failed.len());
    writeln!(
        out,
        "{seeds} seeds, {count} failed; {steps} steps in {time:.1} s, {rate:.0} steps/s"
    )?;
    print_counters(&mut out, &counters)?;
    let (faults, waits) = (counters.missing_faults(), counters.missing_waits());
    writeln!(out, "never struck: {faults:?}; never waited: {waits:?}")?;
    let proves = seeds < SEEDS_THAT_PROVE || (faults.is_empty() && waits.is_empty());
    Ok(failed.is_empty() && proves)
}

fn print_counters(out: &mut io::Stdout, counters: &Counters) -> io::Result<()> {
    let (acknowledged, refused, unknown) =
        (counters.acknowledged, counters.refused, counters.outcome_unknown);
    writeln!(
        out,
        "writes: {acknowledged} acknowledged, {refused} refused, {unknown} of unknown outcome"
    )?;
    writeln!(out, "network tables compared: {}", counters.tables)?;
    for (fault, count) in &counters.faults {
        writeln!(out, "fault {fault:?}: {count}")?;
    }
    for (code, count) in &counters.waits {
        writeln!(out, "wait {}: {count}", code.name())?;
    }
    Ok(())
}

fn find_planted(start: u64) -> io::Result<bool> {
    let mut out = io::stdout();
    let mut all = true;
    for bug in PlantedBug::ALL {
        let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
        each_seed(start, SEEDS_A_BUG, Some(*bug), |outcome| {
            let Some(failure) = outcome.failure else {
                return false;
            };
            if let Ok(mut found) = found.lock() {
                let earlier = found.take().filter(|(seed, _)| *seed < outcome.seed);
                *found = Some(earlier.unwrap_or((outcome.seed, failure)));
            }
            true
        });
        match found.into_inner().unwrap_or_default() {
            Some((seed, failure)) => {
                let short: String = failure.chars().take(150).collect();
                writeln!(out, "{}: found by seed {seed}: {short}", bug.name())?;
            }
            None => {
                all = false;
                writeln!(out, "{}: NOT FOUND within {SEEDS_A_BUG} seeds", bug.name())?;
            }
        }
    }
    Ok(all)
}

fn measure_placements() -> io::Result<bool> {
    let mut cluster = Placements::prepare(NODES).map_err(io::Error::other)?;
    let mut out = io::stdout();
    for sample in 0..SAMPLES {
        let begun = Instant::now();
        let placed = cluster.place(&format!("sample-{sample}"), TASKS);
        let time = begun.elapsed().as_secs_f64();
        if placed != usize::try_from(TASKS).unwrap_or(0) {
            let why = &cluster.refused;
            return Err(io::Error::other(format!(
                "{placed} of {TASKS} tasks were placed; refused: {why:?}"
            )));
        }
        writeln!(out, "{:.0}", placed as f64 / time)?;
    }
    Ok(true)
}
