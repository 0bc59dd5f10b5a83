//! Where programs are: PostgreSQL of each major, other servers, binaries of this workspace. Nothing is started here.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::process::run;
use crate::user::TestUser;

const DISTRIBUTION: &str = "/usr/lib/postgresql";

/// Returns the folder that holds tools which no package of the system provides.
///
/// It is `$OPS_TOOLS_DIR`, else `$CARGO_TARGET_DIR/tools`, else `target/tools` of this workspace. PostgreSQL 17 is
/// looked for in `postgresql-17/bin` there, SeaweedFS in `seaweedfs/bin`.
#[must_use]
pub fn tools_dir() -> PathBuf {
    if let Some(folder) = env::var_os("OPS_TOOLS_DIR") {
        return folder.into();
    }
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target).join("tools"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"),
    }
}

/// Returns the folder of PostgreSQL's programs for a major version.
///
/// The first of these that has a server: `$OPS_PG_BIN_<major>`, `/usr/lib/postgresql/<major>/bin`,
/// `postgresql-<major>/bin` in [`tools_dir`].
///
/// # Errors
/// [`ErrorKind::NotInstalled`] when none has one.
pub fn bin_dir(major: u32) -> Result<PathBuf, Error> {
    let places = [
        env::var_os(format!("OPS_PG_BIN_{major}")).map(PathBuf::from),
        Some(Path::new(DISTRIBUTION).join(major.to_string()).join("bin")),
        Some(tools_dir().join(format!("postgresql-{major}/bin"))),
    ];
    places.into_iter().flatten().find(|bin| has(bin, "postgres") && has(bin, "initdb")).ok_or_else(|| {
        let message = format!("PostgreSQL {major} is not installed (installed: {:?})", installed_majors());
        Error::new(ErrorKind::NotInstalled, message)
    })
}

/// Lists the major versions of PostgreSQL that [`bin_dir`] finds, oldest first.
#[must_use]
pub fn installed_majors() -> Vec<u32> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut majors: BTreeSet<u32> =
        names(Path::new(DISTRIBUTION)).iter().filter_map(|name| name.parse().ok()).collect();
    majors.extend(
        names(&tools_dir()).iter().filter_map(|n| n.strip_prefix("postgresql-")?.parse::<u32>().ok()),
    );
    majors.extend(
        env::vars_os().filter_map(|(n, _)| n.to_str()?.strip_prefix("OPS_PG_BIN_")?.parse::<u32>().ok()),
    );
    majors.into_iter().filter(|major| is_installed(*major)).collect()
}

/// Returns the major version that a test uses when it does not ask for one.
///
/// It is `$OPS_PG_MAJOR`, else the newest installed one that comes with `pg_verifybackup`.
///
/// # Errors
/// [`ErrorKind::NotInstalled`] when there is none, [`ErrorKind::Settings`] when `OPS_PG_MAJOR` is not a number.
pub fn default_major() -> Result<u32, Error> {
    if let Some(major) = env::var_os("OPS_PG_MAJOR") {
        return major.to_str().and_then(|m| m.parse().ok()).ok_or_else(|| {
            let message = format!("OPS_PG_MAJOR is {major:?}, a number such as 17 is wanted");
            Error::new(ErrorKind::Settings, message)
        });
    }
    let complete = |major: &u32| bin_dir(*major).is_ok_and(|bin| has(&bin, "pg_verifybackup"));
    installed_majors().into_iter().rev().find(complete).ok_or_else(|| {
        Error::new(ErrorKind::NotInstalled, "no PostgreSQL server with pg_verifybackup is installed")
    })
}

/// Finds a server program in a folder of [`tools_dir`], else on `PATH`.
pub(crate) fn find_program(name: &str, folder: &str) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = [tools_dir().join(folder)].into_iter().chain(env::split_paths(&path));
    let found = places.map(|place| place.join(name)).find(|program| program.is_file());
    found.ok_or_else(|| Error::new(ErrorKind::NotInstalled, format!("{name} is not installed")))
}

/// Finds a binary of this workspace, built with the same profile as the running test.
///
/// It does not build it, and cannot know whether it is up to date: `cargo test` of one package does not rebuild
/// the binaries of another.
///
/// # Errors
/// [`ErrorKind::NotBuilt`], with the command that builds it.
pub fn bin_exe(name: &str) -> Result<PathBuf, Error> {
    let test = env::current_exe().map_err(|e| Error::io("find", Path::new("the running program"), e))?;
    // Tests are in target/<profile>/deps, examples in target/<profile>/examples, binaries in target/<profile>.
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|bin| bin.is_file());
    found.ok_or_else(|| {
        let release = if test.components().any(|c| c.as_os_str() == "release") { " --release" } else { "" };
        let message = format!("{name} is not built: run `cargo build{release} --bin {name}` first");
        Error::new(ErrorKind::NotBuilt, message)
    })
}

/// Returns a path of a program (or of a whole folder of programs) that the [`TestUser`] can execute.
///
/// It is the given path where that works already. Else, for example for a clone below `/root`, the file or folder is
/// copied to a cache in `/tmp`, and copied again only when it has changed.
///
/// # Errors
/// [`ErrorKind::Io`] when it does not exist or cannot be copied.
pub fn public_copy(path: &Path) -> Result<PathBuf, Error> {
    let user = TestUser::find()?;
    let target = fs::canonicalize(path).map_err(|e| Error::io("find", path, e))?;
    // The given path, not its target: a program may behave by the name it is called, as redis-server does.
    let path = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
    if user.can_execute(&path) && user.can_execute(&target) {
        return Ok(path);
    }
    let meta = fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
    let name = path.file_name().unwrap_or_default();
    let mut place = DefaultHasher::new();
    path.hash(&mut place);
    let entry = format!("copy-{:016x}", place.finish());
    let version = format!("{}-{}-{}", meta.len(), meta.mtime(), meta.mtime_nsec());
    // One entry a path: a rebuilt program replaces its older copy, so that the cache does not grow.
    let folder = cache::entry(user, &entry, &version, |folder| {
        run(Command::new("cp").args(["-aH", "--reflink=auto", "--"]).arg(&path).arg(folder))?;
        user.own_tree(folder)
    })?;
    Ok(folder.join(name))
}

fn is_installed(major: u32) -> bool {
    // Not `bin_dir(major).is_ok()`: its error lists the installed majors.
    env::var_os(format!("OPS_PG_BIN_{major}")).is_some_and(|bin| has(Path::new(&bin), "postgres"))
        || has(&Path::new(DISTRIBUTION).join(format!("{major}/bin")), "postgres")
        || has(&tools_dir().join(format!("postgresql-{major}/bin")), "postgres")
}

fn has(bin: &Path, program: &str) -> bool {
    bin.join(program).is_file()
}
