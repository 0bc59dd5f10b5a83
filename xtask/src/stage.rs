//! A folder below `/tmp` with copies of our programs, and a command that runs one as a user that servers accept:
//! PostgreSQL refuses root, and its user can often not reach a home directory.

use crate::setup::Machine;
use crate::sh::{self, Result};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The words for cargo that build whatever is run from `target/debug`: commands and tests together, because apart most
/// dependencies would be built twice, as those of tests ask for more of their features.
pub(crate) const BUILD: &str = "build --workspace --lib --bins --tests";

/// Builds programs, given as package and binary, in release.
pub(crate) fn build(machine: &Machine, programs: &[(&str, &str)]) -> Result<()> {
    let mut build = machine.cargo();
    build.args(["build", "--release", "--quiet"]);
    for (package, _) in programs {
        build.args(["-p", package]);
    }
    sh::run(&mut build)
}

/// The folder. Whoever runs in it removes it.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

impl Stage {
    /// Makes the folder and copies the programs of a profile; its path is short, because socket paths are limited to 107
    /// bytes.
    pub(crate) fn new(name: &str, profile: &str, programs: &[&str]) -> Result<Self> {
        let user = if sh::is_root() { Some(server_user()?) } else { None };
        let folder = PathBuf::from(format!("/tmp/ops-{name}-{}", std::process::id()));
        let bin = folder.join("bin");
        let fail = |error: std::io::Error| format!("{} cannot be prepared: {error}", folder.display());
        std::fs::create_dir(&folder).map_err(fail)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
        std::fs::create_dir(&bin).map_err(fail)?;
        for program in programs {
            std::fs::copy(sh::target().join(profile).join(program), bin.join(program)).map_err(fail)?;
        }
        if let Some((uid, gid)) = user {
            chown(&folder, uid, gid).map_err(fail)?;
        }
        Ok(Stage { folder, user })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A copied program, to be run in the folder as its user.
    pub(crate) fn command(&self, machine: &Machine, program: &str) -> Result<Command> {
        let mut command = Command::new(self.folder.join("bin").join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.envs(machine.env.iter().map(|(name, value)| (name, value)));
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid).env("HOME", &self.folder);
        }
        Ok(command)
    }
}

/// The program takes our place, so that Ctrl-C reaches it alone and it can clean up.
pub(crate) fn become_it(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(format!("{} does not start: {error}", command.get_program().display()))
}

/// A W3C traceparent that starts a trace: random ids, sampled, marked as random.
pub(crate) fn new_trace() -> Result<String> {
    let mut bytes = [0_u8; 24];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/urandom cannot be read: {error}"))?;
    // All zeros is the one value that is no id.
    bytes[0] |= 1;
    bytes[16] |= 1;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("00-{}-{}-03", &hex[..32], &hex[32..]))
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
