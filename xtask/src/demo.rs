//! `cargo xtask demo`: sets up, builds, and runs the story of `ops-demo` as a user that a server accepts.

use crate::setup;
use crate::sh::{self, Result};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What the story runs; all of it is built once.
const PROGRAMS: [&str; 4] = ["ops-demo", "ops-backup", "ops-gate", "ops-guard"];

/// The command line entry.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(word) = args.iter().find(|word| !["--keep", "--help", "-h"].contains(&word.as_str())) {
        return Err(format!("demo takes only --keep, not `{word}`"));
    }
    if args.iter().any(|word| word.ends_with('h') || word.ends_with("help")) {
        sh::say(
            "cargo xtask demo [--keep]\n\nRuns the main job on real data, then removes it; --keep leaves the restored server and all files for a look around.",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let machine = setup::ensure(false)?;
    sh::say("Building the commands (release; a few minutes the first time)…");
    let mut build = machine.cargo();
    build.args(["build", "--release", "--quiet"]);
    for package in ["ops-demo", "ops-backup-cli", "ops-gate-cli", "ops-guard-cli"] {
        build.args(["-p", package]);
    }
    sh::run(&mut build)?;
    let postgres =
        setup::postgres_bin().ok_or("PostgreSQL was installed, but is not where it was expected")?;
    let folder = prepare()?;
    let mut story = Command::new(folder.join("bin/ops-demo"));
    story
        .args(args)
        .arg("--home")
        .arg(&folder)
        .arg("--postgres-bin")
        .arg(&postgres)
        .current_dir(&folder)
        .stdin(Stdio::null());
    if std::env::var_os("TRACEPARENT").is_none() {
        // The environment carries the trace to every process of the run, PostgreSQL's archiver included.
        story.env("TRACEPARENT", new_trace()?);
    }
    story.envs(machine.env.iter().map(|(name, value)| (name, value)));
    if sh::is_root() {
        let (uid, gid) = server_user()?;
        story.uid(uid).gid(gid).env("HOME", &folder);
    }
    // The story takes our place, so that Ctrl-C reaches it alone; it stops and removes everything, the folder included.
    Err(format!("ops-demo does not start: {}", story.exec()))
}

/// A W3C traceparent that starts a trace: random ids, sampled, marked as random.
fn new_trace() -> Result<String> {
    let mut bytes = [0_u8; 24];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/urandom cannot be read: {error}"))?;
    // All zeros is the one value that is no id.
    bytes[0] |= 1;
    bytes[16] |= 1;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("00-{}-{}-03", &hex[..32], &hex[32..]))
}

/// A fresh folder with a short path (socket paths are limited to 107 bytes) that holds copies of the programs:
/// the server's user can often not reach a home directory of root.
fn prepare() -> Result<PathBuf> {
    let folder = PathBuf::from(format!("/tmp/ops-demo-{}", std::process::id()));
    let bin = folder.join("bin");
    let fail = |error: std::io::Error| format!("{} cannot be prepared: {error}", folder.display());
    std::fs::create_dir(&folder).map_err(fail)?;
    std::fs::create_dir(&bin).map_err(fail)?;
    for program in PROGRAMS {
        std::fs::copy(sh::target().join("release").join(program), bin.join(program)).map_err(fail)?;
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    if sh::is_root() {
        let (uid, gid) = server_user()?;
        chown(&folder, uid, gid).map_err(fail)?;
    }
    Ok(folder)
}

fn chown(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// PostgreSQL refuses to run as root: its packages bring a user for it, and every system has `nobody`.
fn server_user() -> Result<(u32, u32)> {
    let find = |name: &str| {
        let line = sh::output("getent", &["passwd", name])?;
        let mut fields = line.trim().split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or_else(|| "no user `postgres` or `nobody` to run the server as".into())
}
