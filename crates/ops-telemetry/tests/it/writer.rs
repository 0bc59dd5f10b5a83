//! Lines on their way: the ring, its limits, what is lost and who says so, files that are turned over.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ops_telemetry::{
    FileWriter, LineWriter, LogFormat, Options, RingOptions, Rotation, Severity, Telemetry, WhenFull,
};
use tracing::{debug, error, info, warn};

use crate::parse;

/// A reader that can be stopped, and that can fail.
#[derive(Clone, Default)]
struct Reader(Arc<(Mutex<Pipe>, Condvar)>);

#[derive(Default)]
struct Pipe {
    lines: Vec<String>,
    is_stopped: bool,
    is_gone: bool,
}

impl LineWriter for Reader {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let (pipe, changed) = &*self.0;
        let mut pipe = changed.wait_while(pipe.lock().expect("lock"), |pipe| pipe.is_stopped).expect("lock");
        if pipe.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        pipe.lines.push(String::from_utf8(line.to_vec()).expect("utf-8"));
        Ok(())
    }
}

impl Reader {
    fn set(&self, change: impl FnOnce(&mut Pipe)) {
        change(&mut self.0.0.lock().expect("lock"));
        self.0.1.notify_all();
    }

    fn messages(&self) -> Vec<String> {
        let lines = self.0.0.lock().expect("lock").lines.clone();
        lines.iter().map(|line| parse(line).get("message").as_str().expect("text").to_owned()).collect()
    }

    fn last(&self) -> crate::Line {
        parse(self.0.0.lock().expect("lock").lines.last().expect("a line"))
    }
}

/// Runs `body` with lines that go to `reader` through a ring.
fn through_ring(reader: &Reader, ring: RingOptions, body: impl FnOnce(&Telemetry)) {
    let options = Options {
        writer: Arc::new(reader.clone()),
        ring: Some(ring),
        format: LogFormat::Json,
        filter: "trace".into(),
        ..Options::default()
    };
    let (dispatch, telemetry) = ops_telemetry::testing::scoped(options).expect("valid options");
    tracing::dispatcher::with_default(&dispatch, || body(&telemetry));
}

const SMALL: RingOptions = RingOptions { capacity: 4096, when_full: WhenFull::Drop };
const LONG: Duration = Duration::from_secs(30);

#[test]
fn lines_keep_their_order_and_errors_are_out_when_they_return() {
    let reader = Reader::default();
    through_ring(
        &reader,
        RingOptions { when_full: WhenFull::Block { at_most: LONG }, ..RingOptions::default() },
        |_| {
            (0..5000).for_each(|n| info!("{n}"));
            error!("failed");
            let messages = reader.messages();
            assert_eq!(messages.len(), 5001, "the error must be written when its call returns");
            assert!(messages[..5000].iter().enumerate().all(|(n, message)| *message == n.to_string()));
            assert_eq!(messages[5000], "failed");
        },
    );
}

#[test]
fn a_full_ring_gives_up_the_least_important_lines_and_says_so() {
    let reader = Reader::default();
    reader.set(|pipe| pipe.is_stopped = true);
    through_ring(&reader, SMALL, |telemetry| {
        (0..100).for_each(|n| debug!("debug {n}"));
        (0..100).for_each(|n| info!("info {n}"));
        warn!("the one that matters");
        let lost = telemetry.lines_lost_by_severity();
        // What the thread has taken already cannot be given up.
        assert!(lost.of(Severity::Debug) > 80, "{lost:?}");
        assert_eq!(lost.of(Severity::Warn), 0);
        reader.set(|pipe| pipe.is_stopped = false);
        let report = telemetry.shutdown(LONG);
        assert!(report.is_complete, "{report:?}");
        let messages = reader.messages();
        assert!(messages.iter().any(|message| message == "the one that matters"));
        let told = "log lines were lost";
        let written = messages.iter().filter(|message| *message != told).count() as u64;
        assert_eq!(written + report.lines_lost.total(), 201, "every line is either written or counted");
        let announced: u64 = (reader.0.0.lock().expect("lock").lines.iter())
            .map(|line| parse(line))
            .filter_map(|line| line.find("telemetry.dropped").and_then(serde_json::Value::as_u64))
            .sum();
        assert_eq!(announced, report.lines_lost.total(), "what is counted is said");
    });
}

#[test]
fn a_line_that_matters_finds_room_while_the_thread_has_taken_all_others() {
    // The thread may take the first lines alone; in some of the rounds it takes them all.
    for _ in 0..20 {
        let reader = Reader::default();
        reader.set(|pipe| pipe.is_stopped = true);
        through_ring(&reader, SMALL, |telemetry| {
            (0..100).for_each(|n| info!("info {n}"));
            std::thread::sleep(Duration::from_millis(10));
            warn!("the one that matters");
            assert_eq!(telemetry.lines_lost_by_severity().of(Severity::Warn), 0);
            reader.set(|pipe| pipe.is_stopped = false);
            assert!(telemetry.shutdown(LONG).is_complete);
        });
    }
}

#[test]
fn nobody_waits_twice_for_a_reader_that_stands_still() {
    let reader = Reader::default();
    reader.set(|pipe| pipe.is_stopped = true);
    let patient =
        RingOptions { capacity: 4096, when_full: WhenFull::Block { at_most: Duration::from_millis(20) } };
    through_ring(&reader, patient, |telemetry| {
        // Were each of these to wait, this would take weeks.
        (0..100_000).for_each(|_| error!("into a wall"));
        assert!(telemetry.lines_lost() > 90_000);
        let report = telemetry.shutdown(Duration::from_millis(20));
        assert!(!report.is_complete);
        info!("too late");
        reader.set(|pipe| pipe.is_stopped = false);
        let lost = telemetry.lines_lost_by_severity();
        assert_eq!(lost.of(Severity::Info), 1);
    });
}

#[test]
fn nothing_is_lost_below_the_capacity() {
    let reader = Reader::default();
    reader.set(|pipe| pipe.is_stopped = true);
    through_ring(&reader, RingOptions { capacity: 8 << 20, when_full: WhenFull::Drop }, |telemetry| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let dispatch = &dispatch;
                scope.spawn(move || {
                    tracing::dispatcher::with_default(dispatch, || {
                        (0..1000).for_each(|n| info!(thread, n, "line"));
                    });
                });
            }
        });
        reader.set(|pipe| pipe.is_stopped = false);
        let report = telemetry.shutdown(LONG);
        assert!(report.is_complete && report.lines_lost.total() == 0, "{report:?}");
        assert_eq!(reader.messages().len(), 8000);
    });
}

#[test]
fn a_reader_that_comes_back_is_told() {
    let reader = Reader::default();
    reader.set(|pipe| pipe.is_gone = true);
    through_ring(&reader, RingOptions::default(), |telemetry| {
        (0..7).for_each(|_| info!("into the void"));
        assert!(telemetry.flush(LONG));
        assert_eq!(telemetry.lines_lost(), 7);
        reader.set(|pipe| pipe.is_gone = false);
        info!("hello again");
        assert!(telemetry.flush(LONG));
        assert_eq!(reader.messages(), ["log lines were lost", "hello again"]);
        assert!(telemetry.shutdown(LONG).is_complete);
        info!("after the end");
        let last = reader.last();
        assert_eq!(last.get("message"), "after the end");
    });
    let told = parse(&reader.0.0.lock().expect("lock").lines[0]);
    assert_eq!((told.get("telemetry.dropped"), told.get("telemetry.dropped.info")), (&7.into(), &7.into()));
    assert_eq!(told.get("level"), "WARN");
}

#[test]
fn a_file_is_turned_over_by_size_and_only_so_many_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log");
    let writer =
        FileWriter::open(&path, Rotation { max_bytes: Some(30), every: None, keep: 2 }).expect("opens");
    for n in 0..10 {
        writer.write_line(format!("line number {n}\n").as_bytes()).expect("writes");
    }
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert_eq!(read("app.log"), "line number 8\nline number 9\n");
    assert_eq!(read("app.log.1"), "line number 6\nline number 7\n");
    assert_eq!(read("app.log.2"), "line number 4\nline number 5\n");
    assert!(!folder.path().join("app.log.3").exists());
}

/// As root, to turn `/dev/null` over takes it from the whole machine.
#[test]
fn what_is_no_file_is_never_turned_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pipe, link, file) =
        (folder.path().join("pipe"), folder.path().join("link"), folder.path().join("file"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    // Both ends, so that neither open nor write waits for another process.
    let _reader = std::fs::File::options().read(true).write(true).open(&pipe).expect("opens");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    for keep in [0, 2] {
        for path in [&pipe, &link] {
            let rotation =
                Rotation { max_bytes: Some(10), every: Some(Duration::from_nanos(1_000_000_000)), keep };
            let before = std::fs::symlink_metadata(path).expect("there").file_type();
            let writer = FileWriter::open(path, rotation).expect("opens");
            (0..10).for_each(|_| writer.write_line(b"a line of some length\n").expect("written"));
            assert_eq!(std::fs::symlink_metadata(path).expect("still there").file_type(), before, "{path:?}");
        }
    }
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "link", "pipe"]);
}

#[test]
fn a_file_of_an_earlier_period_is_turned_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log");
    std::fs::write(&path, "torn").expect("writes");
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(86_400);
    let file = std::fs::File::options().append(true).open(&path).expect("opens");
    file.set_modified(yesterday).expect("sets the time");
    let daily = Rotation { max_bytes: None, every: Some(Duration::from_secs(86_400)), keep: 3 };
    let writer = FileWriter::open(&path, daily).expect("opens");
    writer.write_line(b"today\n").expect("writes");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "today\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("app.log.1")).expect("reads"), "torn");
}

#[test]
fn a_torn_line_of_a_crash_does_not_spoil_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log");
    std::fs::write(&path, "whole\nto").expect("writes");
    FileWriter::open(&path, Rotation::NEVER).expect("opens").write_line(b"next\n").expect("writes");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "whole\nto\nnext\n");
}

#[test]
fn a_file_that_was_moved_away_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log");
    let writer = FileWriter::open(&path, Rotation::NEVER).expect("opens");
    writer.write_line(b"one\n").expect("writes");
    std::fs::rename(&path, folder.path().join("moved")).expect("moves");
    writer.write_line(b"two\n").expect("writes");
    writer.reopen().expect("opens again");
    writer.write_line(b"three\n").expect("writes");
    assert_eq!(std::fs::read_to_string(folder.path().join("moved")).expect("reads"), "one\ntwo\n");
    assert_eq!(std::fs::read_to_string(&path).expect("reads"), "three\n");
}
