//! Tests of the reader: against the shim's format, rotation at every moment, damage, and a writer at work.
//! Whatever waits here waits for a record, with a deadline.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt;
use proptest::prelude::*;
use shoal_run_dir::log::{self, Stream as Source};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// No test waits this long unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Writes a log as the shim does.
struct Writer {
    root: tempfile::TempDir,
    directory: PathBuf,
    second: u64,
}

impl Writer {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(ID);
        fs::create_dir(&directory).unwrap();
        Self {
            root,
            directory,
            second: 0,
        }
    }

    fn logs(&self) -> Logs {
        Logs::new(self.root.path().to_owned())
    }

    fn name(&self, generation: u32) -> PathBuf {
        log::file(&self.directory, ID, generation)
    }

    fn raw(&self, bytes: &[u8]) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.name(0))
            .unwrap();
        file.write_all(bytes).unwrap();
    }

    fn record(&mut self, text: &str, source: Source) -> Vec<u8> {
        self.second += 1;
        let mut record = Vec::new();
        log::append_record(&mut record, text.as_bytes(), source, self.second * 1_000_000_000);
        record
    }

    fn write(&mut self, text: &str) {
        let record = self.record(text, Source::Stdout);
        self.raw(&record);
    }

    fn rotate(&self, files: u32) {
        let _may_not_exist = fs::remove_file(self.name(files - 1));
        for generation in (0..files - 1).rev() {
            let _may_not_exist = fs::rename(self.name(generation), self.name(generation + 1));
        }
    }
}

fn query(tail: Option<u64>, since: Option<u64>, follow: bool) -> LogQuery {
    LogQuery {
        container: ID.parse().unwrap(),
        tail,
        since: since.map(|second| UNIX_EPOCH + Duration::from_secs(second)),
        follow,
    }
}

async fn texts(logs: &Logs, query: LogQuery) -> Vec<String> {
    let stream = logs.read(query, Box::pin(std::future::ready(()))).await.unwrap();
    let all: Vec<_> = timeout(DEADLINE, stream.collect()).await.unwrap();
    all.into_iter().map(text).collect()
}

fn text(record: Result<LogRecord, LogError>) -> String {
    match record {
        Ok(record) => String::from_utf8(record.text.to_vec()).unwrap(),
        Err(LogError::Lost) => "<lost>".to_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn records_come_back_as_they_were_written() {
    let mut writer = Writer::new();
    let odd = "quote \" slash \\ tab \t bell \u{7} é \u{1f41f}\r\n";
    let record = writer.record(odd, Source::Stderr);
    writer.raw(&record);
    let stream = writer
        .logs()
        .read(query(None, None, false), Box::pin(std::future::pending()))
        .await
        .unwrap();
    let all: Vec<_> = stream.map(Result::unwrap).collect().await;
    assert_eq!(
        all,
        [LogRecord {
            stream: LogStream::Stderr,
            time: UNIX_EPOCH + Duration::from_secs(1),
            text: Bytes::from_static(odd.as_bytes()),
        }]
    );
    assert!(!all[0].is_partial());
}

#[tokio::test]
async fn the_tail_is_counted_in_lines_across_files_and_parts() {
    let mut writer = Writer::new();
    for text in ["1\n", "2\n", "3 and ", "more\n"] {
        writer.write(text);
    }
    writer.rotate(3);
    for text in ["4\n", "5, ", "long, ", "ends\n", "6 goes ", "on"] {
        writer.write(text);
    }
    let logs = writer.logs();
    let check = async |lines: u64, expect: &str| {
        assert_eq!(
            texts(&logs, query(Some(lines), None, false)).await.concat(),
            expect,
            "{lines}"
        );
    };
    check(0, "").await;
    check(1, "6 goes on").await;
    check(2, "5, long, ends\n6 goes on").await;
    check(3, "4\n5, long, ends\n6 goes on").await;
    check(4, "3 and more\n4\n5, long, ends\n6 goes on").await;
    check(5, "2\n3 and more\n4\n5, long, ends\n6 goes on").await;
    check(6, "1\n2\n3 and more\n4\n5, long, ends\n6 goes on").await;
    check(u64::MAX, "1\n2\n3 and more\n4\n5, long, ends\n6 goes on").await;
}

#[tokio::test]
async fn since_leaves_out_what_is_older() {
    let mut writer = Writer::new();
    for number in 1..=4 {
        writer.write(&format!("{number}\n"));
        if number == 2 {
            writer.rotate(2);
        }
    }
    assert_eq!(
        texts(&writer.logs(), query(None, Some(2), false)).await.concat(),
        "2\n3\n4\n"
    );
    assert_eq!(
        texts(&writer.logs(), query(Some(1), Some(2), false))
            .await
            .concat(),
        "4\n"
    );
    assert_eq!(
        texts(&writer.logs(), query(None, Some(9), false)).await.concat(),
        ""
    );
}

#[tokio::test]
async fn damage_is_skipped_and_nothing_else() {
    let mut writer = Writer::new();
    writer.write("1\n");
    let torn = writer.record("torn\n", Source::Stdout);
    // Torn by a power loss, then written on after a restart; zeroes where a block never reached the disk.
    writer.raw(&torn[..torn.len() / 2]);
    writer.write("2\n");
    writer.raw(&[0; 700]);
    writer.write("3\n");
    writer.raw(b"not json\n{}\n\n{\"log\":\"x\",\"stream\":\"other\",\"time\":\"2020-01-01T00:00:00Z\"}\n");
    writer.raw(&vec![b'x'; 3 * record::MAX]);
    writer.raw(b"\n");
    writer.write("4\n");
    writer.raw(&torn[..torn.len() - 1]);
    let logs = writer.logs();
    assert_eq!(
        texts(&logs, query(None, None, false)).await.concat(),
        "1\n2\n3\n4\n"
    );
    assert_eq!(texts(&logs, query(Some(2), None, false)).await.concat(), "3\n4\n");
    assert_eq!(
        texts(&logs, query(Some(9), None, false)).await.concat(),
        "1\n2\n3\n4\n"
    );
}

#[tokio::test]
async fn logs_that_are_not_there_and_logs_that_are_forgotten() {
    let mut writer = Writer::new();
    let logs = writer.logs();
    assert_eq!(texts(&logs, query(None, None, false)).await.concat(), "");
    assert_eq!(texts(&logs, query(Some(5), None, false)).await.concat(), "");
    writer.write("1\n");
    let id: ContainerId = ID.parse().unwrap();
    assert_eq!(logs.list().await.unwrap(), std::slice::from_ref(&id));
    logs.forget(&id).await.unwrap();
    assert_eq!(logs.list().await.unwrap(), []);
    logs.forget(&id).await.unwrap();
    let gone = logs
        .read(query(None, None, true), Box::pin(std::future::pending()))
        .await;
    assert!(matches!(gone.err(), Some(LogError::NotFound(_))));
}

/// A follower and the handle that ends it.
async fn follow(
    logs: Logs,
    tail: Option<u64>,
) -> (
    impl Stream<Item = Result<LogRecord, LogError>> + Send + Unpin,
    oneshot::Sender<()>,
) {
    let (end, ended) = oneshot::channel();
    let ended = async move {
        let _either_way = ended.await;
    };
    let stream = logs.read(query(tail, None, true), Box::pin(ended)).await.unwrap();
    (Box::pin(stream), end)
}

async fn next(stream: &mut (impl Stream<Item = Result<LogRecord, LogError>> + Unpin)) -> Option<String> {
    timeout(DEADLINE, stream.next())
        .await
        .expect("a record in time")
        .map(text)
}

#[tokio::test]
async fn a_follower_sees_everything_through_rotations_and_then_the_end() {
    let mut writer = Writer::new();
    let (mut stream, end) = follow(writer.logs(), None).await;
    for round in 0..40 {
        let count = round % 4;
        for number in 0..count {
            writer.write(&format!("{round}.{number}\n"));
        }
        if round % 3 == 0 {
            writer.rotate(3);
        }
        for number in 0..count {
            assert_eq!(next(&mut stream).await.unwrap(), format!("{round}.{number}\n"));
        }
    }
    writer.write("last\n");
    end.send(()).unwrap();
    assert_eq!(next(&mut stream).await.unwrap(), "last\n");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_record_is_seen_once_it_is_whole_and_never_half() {
    let mut writer = Writer::new();
    writer.write("old\n");
    let (mut stream, end) = follow(writer.logs(), Some(0)).await;
    let record = writer.record("whole\n", Source::Stdout);
    writer.raw(&record[..20]);
    // The shim takes back what it could not write, and writes something else there.
    let length = fs::metadata(writer.name(0)).unwrap().len();
    File::options()
        .write(true)
        .open(writer.name(0))
        .unwrap()
        .set_len(length - 20)
        .unwrap();
    writer.write("other\n");
    assert_eq!(next(&mut stream).await.unwrap(), "other\n");
    writer.raw(&record[..20]);
    writer.raw(&record[20..]);
    assert_eq!(next(&mut stream).await.unwrap(), "whole\n");
    drop(end);
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_slow_reader_is_told_of_what_it_lost() {
    let mut writer = Writer::new();
    writer.write("read\n");
    let (mut stream, end) = follow(writer.logs(), None).await;
    assert_eq!(next(&mut stream).await.unwrap(), "read\n");
    writer.write("held open\n");
    for number in 0..5 {
        writer.rotate(2);
        writer.write(&format!("{number}\n"));
    }
    end.send(()).unwrap();
    let mut rest = Vec::new();
    while let Some(text) = next(&mut stream).await {
        rest.push(text);
    }
    assert_eq!(rest, ["held open\n", "<lost>", "3\n", "4\n"]);
}

#[tokio::test]
async fn a_log_of_one_file_can_be_followed() {
    let mut writer = Writer::new();
    let (mut stream, _end) = follow(writer.logs(), None).await;
    for number in 0..10 {
        writer.write(&format!("{number}\n"));
        assert_eq!(next(&mut stream).await.unwrap(), format!("{number}\n"));
        writer.rotate(1);
    }
}

/// A writer that rotates at random moments beside a follower, faster than any person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_beside_a_busy_writer() {
    const RECORDS: u32 = 4000;
    let mut writer = Writer::new();
    let (mut stream, end) = follow(writer.logs(), None).await;
    let (seen, mut read_up_to) = tokio::sync::watch::channel(0);
    let busy = tokio::spawn(async move {
        for number in 1..=RECORDS {
            writer.write(&format!("{number}\n"));
            if number % 97 == 0 {
                // With ten files kept, a reader that is not nine rotations behind loses nothing.
                read_up_to.wait_for(|seen| seen + 800 > number).await.unwrap();
                writer.rotate(10);
            }
        }
        end.send(()).unwrap();
        writer
    });
    for number in 1..=RECORDS {
        assert_eq!(next(&mut stream).await.unwrap(), format!("{number}\n"));
        let _nobody_waits = seen.send(number);
    }
    assert_eq!(next(&mut stream).await, None);
    busy.await.unwrap();
}

proptest! {
    #[test]
    fn any_line_is_a_record_or_nothing(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = record::parse(&line);
    }

    #[test]
    fn any_text_survives_the_format(text in ".{0,40}\n?", stderr in any::<bool>(), at in 0u64..4_000_000_000_000_000_000) {
        let source = if stderr { Source::Stderr } else { Source::Stdout };
        let mut line = Vec::new();
        log::append_record(&mut line, text.as_bytes(), source, at);
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        let record = record::parse(&line).unwrap();
        prop_assert_eq!(record.text.as_ref(), text.as_bytes());
        prop_assert_eq!(record.stream == LogStream::Stderr, stderr);
        prop_assert_eq!(record.time, UNIX_EPOCH + Duration::from_nanos(at));
    }

    #[test]
    fn tails_of_any_length_agree_with_reading_it_all(
        lines in prop::collection::vec("[a-z]{0,5}", 0..30),
        rotations in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        wanted in 0u64..35,
        torn in 0usize..60,
    ) {
        let mut writer = Writer::new();
        let rotate_after: Vec<usize> = rotations.iter().map(|index| index.index(30)).collect();
        for (index, line) in lines.iter().enumerate() {
            writer.write(&format!("{line}\n"));
            if rotate_after.contains(&index) {
                writer.rotate(9);
            }
        }
        let record = writer.record("torn\n", Source::Stdout);
        writer.raw(&record[..torn]);
        let mut reader = Reader::open(&writer.directory, ID, Some(wanted), None).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.advance().unwrap() {
                Progress::Records(records) => found.extend(records.into_iter().map(|record| text(Ok(record)))),
                Progress::Lost => found.push("<lost>".to_owned()),
                Progress::AtEnd => break,
            }
        }
        let skip = lines.len().saturating_sub(usize::try_from(wanted).unwrap());
        let expect: Vec<_> = lines[skip..].iter().map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(found, expect);
    }
}
