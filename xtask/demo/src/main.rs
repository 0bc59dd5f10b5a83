//! The main job as a story on real data; `cargo xtask demo` starts it.
//!
//! A PostgreSQL is filled, guarded, backed up, damaged, thrown away, restored to the moment before the damage, and proven;
//! a release gate stays closed until the proof is there. This file reads the arguments, runs the story until its end or
//! an interrupt, and removes what it left.

mod child;
mod closing;
mod ledger;
mod plan;
mod story;
mod tell;

use anyhow::{Context as _, Result, bail};
use ops_telemetry::LineWriter;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How much later than a child's failure the interrupt that caused it may arrive.
const GRACE: Duration = Duration::from_millis(200);

/// What the task runner hands over.
#[derive(Debug)]
struct Args {
    home: PathBuf,
    postgres_bin: PathBuf,
    keep: bool,
}

fn main() -> ExitCode {
    let teller = tell::Teller::new();
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            teller.damage(&format!("{error:#}; this program is started by `cargo xtask demo`"));
            return ExitCode::from(64);
        }
    };
    let end = run(&args, teller);
    if !args.keep {
        // The folder is ours: the task runner made it for this run and named it after the process.
        let _ = std::fs::remove_dir_all(&args.home);
    }
    match end {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            teller.damage(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, teller: tell::Teller) -> Result<u8> {
    for folder in ["logs", "keys", "evidence"] {
        let path = args.home.join(folder);
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be created", path.display()))?;
    }
    let telemetry = start_logs(&args.home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Dropping the story stops its servers and its children.
        let restored = tokio::select! {
            end = story::tell(args, teller, telemetry.trace_id()) => match end {
                Ok(restored) => restored,
                // Ctrl-C reaches the children as well, and their end may be seen first.
                Err(_) if tokio::time::timeout(GRACE, interrupt.recv()).await.is_ok() => return Ok(130),
                Err(error) => return Err(error),
            },
            _ = interrupt.recv() => return Ok(130),
            _ = terminate.recv() => return Ok(143),
        };
        if args.keep {
            teller.good(&format!("everything is kept in {}; Ctrl-C stops the server", args.home.display()));
            teller.detail(&format!("psql '{}'", restored.socket_url()));
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        anyhow::Ok(0)
    })?;
    if code != 0 {
        let files = if args.keep { "the files stay in" } else { "and nothing is left of" };
        teller.damage(&format!(
            "interrupted: every server and child is stopped, {files} {}",
            args.home.display()
        ));
    }
    Ok(code)
}

fn start_logs(home: &Path) -> Result<ops_telemetry::Telemetry> {
    let file = home.join("logs/ops-demo.log");
    let file = File::create(&file).with_context(|| format!("{} cannot be created", file.display()))?;
    let mut options = ops_telemetry::Options::from_env();
    options.service = "ops-demo".into();
    options.version = env!("CARGO_PKG_VERSION").into();
    options.format = ops_telemetry::LogFormat::Json;
    options.filter = "info".into();
    options.writer = Arc::new(LogFile(file));
    // The story reads the file while it is told, and is one trace.
    options.roots = ops_telemetry::Roots::Process;
    options.ring = None;
    ops_telemetry::init(options).context("logs do not start")
}

/// The story's own log; an append of one line is one write.
struct LogFile(File);

impl LineWriter for LogFile {
    fn write_line(&self, line: &[u8]) -> std::io::Result<()> {
        (&self.0).write_all(line)
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
    let (mut home, mut postgres_bin, mut keep) = (None, None, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep" => keep = true,
            "--home" => home = words.next().map(PathBuf::from),
            "--postgres-bin" => postgres_bin = words.next().map(PathBuf::from),
            other => bail!("unknown argument `{other}`"),
        }
    }
    Ok(Args {
        home: home.context("--home is missing")?,
        postgres_bin: postgres_bin.context("--postgres-bin is missing")?,
        keep,
    })
}
