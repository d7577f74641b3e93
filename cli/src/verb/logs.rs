//! `shoal logs TASK`, and what it shares with `service logs`: options, and lines with their origin.
//!
//! Lines of standard error go to standard error, in the order in which they come among the others.

use super::{Client, now};
use crate::{
    complete::{Names, names},
    output::{note, print_bytes, visible},
    units::{parse_time, rfc3339},
    wire::refused,
};
use anyhow::{Context, Result};
use shoal_api::v1::{self, logs_request::Of, logs_response::Response, slot::Slot};
use shoal_core::model::WallTime;
use std::io::Write;
use tokio_stream::StreamExt;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// A task's id, or the beginning of one
    #[arg(add = names(Names::Tasks))]
    task: String,
    #[command(flatten)]
    options: LogOptions,
}

/// The flags of both verbs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogOptions {
    /// Go on with what is written from now
    #[arg(short, long)]
    follow: bool,
    /// Lines from the end of each task's log, or all
    #[arg(short = 'n', long, default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Lines since a time (2026-01-02T13:23:37Z) or for a time (42m)
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_time(text, now()))]
    since: Option<WallTime>,
    /// Lines up to a time, likewise
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_time(text, now()))]
    until: Option<WallTime>,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was written to standard error
    #[arg(long)]
    stderr: bool,
    /// Only what was written to standard output
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
}

#[derive(Clone, Copy, Debug)]
struct Tail(Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        _ => text
            .parse()
            .map(|lines| Tail(Some(lines)))
            .map_err(|_error| format!("expected a number of lines or all, found {text:?}")),
    }
}

/// How the origin of a line is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) raw: bool,
    pub(crate) no_task_ids: bool,
    pub(crate) no_trunc: bool,
    pub(crate) no_resolve: bool,
}

pub(crate) async fn run(client: &Client, args: LogsArgs) -> Result<()> {
    let origin = Origin {
        raw: true,
        ..Origin::default()
    };
    show(client, Of::Task(args.task), &args.options, origin).await
}

pub(crate) async fn show(client: &Client, of: Of, options: &LogOptions, origin: Origin) -> Result<()> {
    let connection = client.connect().await?;
    let request = v1::LogsRequest {
        of: Some(of),
        options: Some(v1::LogOptions {
            follow: options.follow,
            tail: options.tail.0,
            since: options.since.map(|time| time.0),
            until: options.until.map(|time| time.0),
            stdout: options.stdout,
            stderr: options.stderr,
        }),
    };
    let mut stream = connection
        .logs()
        .stream(request)
        .await
        .map_err(refused)?
        .into_inner();
    let mut writer = Writer {
        origin,
        timestamps: options.timestamps,
        width: 0,
        open: None,
    };
    while let Some(response) = stream.next().await {
        match response.map_err(refused)?.response {
            Some(Response::Lines(lines)) => writer.lines(&lines)?,
            Some(Response::Notice(notice)) => note(&format!("shoal: {}", notice.message)),
            None => {}
        }
    }
    Ok(())
}

/// Puts the origin before each line, once for a line that comes in parts.
struct Writer {
    origin: Origin,
    timestamps: bool,
    /// The widest origin so far: the bars stand below one another.
    width: usize,
    /// The task and stream whose line is not complete.
    open: Option<(String, v1::Stdio)>,
}

/// Bytes that follow each other on one stream.
#[derive(Debug, PartialEq)]
struct Run {
    stdio: v1::Stdio,
    bytes: Vec<u8>,
}

impl Writer {
    fn lines(&mut self, lines: &v1::TaskLines) -> Result<()> {
        for run in self.runs(lines) {
            if run.stdio == v1::Stdio::Stderr {
                let written = std::io::stderr().write_all(&run.bytes);
                written.context("cannot write to standard error")?;
            } else {
                print_bytes(&run.bytes)?;
            }
        }
        Ok(())
    }

    fn runs(&mut self, lines: &v1::TaskLines) -> Vec<Run> {
        let mut runs = Vec::new();
        for line in &lines.lines {
            self.line(lines, line, &mut runs);
        }
        runs
    }

    fn line(&mut self, lines: &v1::TaskLines, line: &v1::LogLine, runs: &mut Vec<Run>) {
        let own = (lines.task.clone(), line.stdio());
        if self.open.as_ref() != Some(&own) {
            if let Some((_, stdio)) = self.open.take() {
                bytes_of(runs, stdio).push(b'\n');
            }
            let target = bytes_of(runs, line.stdio());
            if self.timestamps {
                target.extend(rfc3339(WallTime(line.wall)).as_bytes());
                target.push(b' ');
            }
            if !self.origin.raw {
                let name = self.name(lines);
                self.width = self.width.max(name.chars().count());
                let width = self.width;
                target.extend(format!("{name:<width$}    | ").as_bytes());
            }
        }
        bytes_of(runs, line.stdio()).extend(&line.data);
        self.open = (!line.data.ends_with(b"\n")).then_some(own);
    }

    /// `web.1.0123456789ab@host`.
    fn name(&self, lines: &v1::TaskLines) -> String {
        let slot = match lines.slot.as_ref().and_then(|slot| slot.slot.as_ref()) {
            Some(Slot::Replica(number)) => number.to_string(),
            Some(Slot::Node(node)) => crate::view::short_id(node, self.origin.no_trunc),
            None => "?".to_owned(),
        };
        let task = match self.origin.no_task_ids {
            true => String::new(),
            false => format!(".{}", crate::view::short_id(&lines.task, self.origin.no_trunc)),
        };
        let node = if self.origin.no_resolve || lines.node_name.is_empty() {
            &lines.node
        } else {
            &lines.node_name
        };
        // The host's name is the node's own word.
        visible(&format!("{}.{slot}{task}@{node}", lines.service_name)).into_owned()
    }
}

/// Where the next bytes of a stream go.
fn bytes_of(runs: &mut Vec<Run>, stdio: v1::Stdio) -> &mut Vec<u8> {
    if runs.last().is_none_or(|run| run.stdio != stdio) {
        let bytes = Vec::new();
        runs.push(Run { stdio, bytes });
    }
    let last = runs.len() - 1;
    &mut runs[last].bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::Stdio::{Stderr, Stdout};

    #[test]
    fn lines_and_parts_of_lines() {
        let mut writer = Writer {
            origin: Origin::default(),
            timestamps: true,
            width: 0,
            open: None,
        };
        let lines = |task: &str| v1::TaskLines {
            task: task.to_owned(),
            service_name: "web".to_owned(),
            slot: Some(v1::Slot {
                slot: Some(Slot::Replica(1)),
            }),
            node: "n".to_owned(),
            node_name: "host".to_owned(),
            lines: Vec::new(),
        };
        let hostile = v1::TaskLines {
            node_name: "\u{1b}[2J".to_owned(),
            ..lines("x")
        };
        assert_eq!(writer.name(&hostile), "web.1.x@\\u001b[2J");
        let mut out = Vec::new();
        for (task, text) in [
            ("0123456789abcdef", "one\n"),
            ("x", "par"),
            ("x", "ted\n"),
            ("x", "open"),
            ("y", "two\n"),
        ] {
            writer.line(&lines(task), &line(Stdout, text), &mut out);
        }
        assert_eq!(
            shown(out),
            [(
                Stdout,
                "1970-01-01T00:00:01Z web.1.0123456789ab@host    | one\n\
                 1970-01-01T00:00:01Z web.1.x@host               | parted\n\
                 1970-01-01T00:00:01Z web.1.x@host               | open\n\
                 1970-01-01T00:00:01Z web.1.y@host               | two\n"
                    .to_owned()
            )]
        );
    }

    fn line(stdio: v1::Stdio, text: &str) -> v1::LogLine {
        v1::LogLine {
            wall: 1_000_000_000,
            stdio: stdio.into(),
            data: text.as_bytes().to_vec(),
        }
    }

    fn shown(runs: Vec<Run>) -> Vec<(v1::Stdio, String)> {
        let runs = runs.into_iter();
        runs.map(|run| (run.stdio, String::from_utf8(run.bytes).unwrap()))
            .collect()
    }

    #[test]
    fn both_streams_in_the_order_of_their_lines() {
        let mut writer = Writer {
            origin: Origin {
                raw: true,
                ..Origin::default()
            },
            timestamps: false,
            width: 0,
            open: None,
        };
        let lines = v1::TaskLines {
            task: "x".to_owned(),
            lines: vec![
                line(Stdout, "asked\n"),
                line(Stderr, "failed\n"),
                line(Stderr, "twice\n"),
                line(Stdout, "so it"),
                line(Stderr, "ends\n"),
            ],
            ..v1::TaskLines::default()
        };
        let expect = [
            (Stdout, "asked\n".to_owned()),
            (Stderr, "failed\ntwice\n".to_owned()),
            // The end of a line belongs to the stream that it stands on.
            (Stdout, "so it\n".to_owned()),
            (Stderr, "ends\n".to_owned()),
        ];
        assert_eq!(shown(writer.runs(&lines)), expect);
    }
}
