//! The programs that are compared: how each is set up, and its commands.
//!
//! Two workers, zstd level 3, no encryption, a local repository on the file system of the data, the fast checkpoint, for
//! all of them. pgBackRest besides bundles small files and is spared its expiry; it checks page checksums, as we do.

use super::pages::size;
use anyhow::{Context as _, Result, ensure};
use ops_testkit::Postgres;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Workers of each program.
pub(crate) const WORKERS: &str = "2";

/// Our command with a repository.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    program: String,
    repo: PathBuf,
    /// The file with the key, where the repository is encrypted.
    key: Option<PathBuf>,
}

/// The peer with a repository of its own.
#[derive(Debug, Clone)]
pub(crate) struct PgBackRest {
    program: String,
    folder: PathBuf,
    /// What `pgbackrest version` says.
    pub(crate) version: String,
}

/// What a backup may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Full,
    /// The backup before it.
    Incremental,
}

impl Ours {
    /// The command that was staged into the folder, with a repository there.
    pub(crate) fn new(home: &Path, repo: &str) -> Self {
        let program = home.join("bin/ops-backup").display().to_string();
        Self { program, repo: home.join(repo), key: None }
    }

    /// The same with an encrypted repository, and a new key.
    pub(crate) fn encrypted(home: &Path, repo: &str) -> Result<Self> {
        let ours = Self::new(home, repo);
        let key = home.join(format!("{repo}.key"));
        call(&ours.words(&["key", "new", &key.display().to_string()]))?;
        Ok(Self { key: Some(key), ..ours })
    }

    /// Our command with these words.
    pub(crate) fn words(&self, more: &[&str]) -> Vec<String> {
        let repo = self.repo.display().to_string();
        let mut all = words(&[&self.program, "--repo", &repo, "--log-level", "warn"]);
        if let Some(key) = &self.key {
            all.extend(words(&["--key-file", &key.display().to_string()]));
        }
        all.extend(words(more));
        all
    }

    /// Makes the repository anew, empty.
    pub(crate) fn fresh(&self) -> Result<()> {
        remove(&self.repo)?;
        call(&self.words(&["init"]))
    }

    /// The line for `archive_command`; the file comes last.
    pub(crate) fn push(&self) -> String {
        self.words(&["wal", "push"]).join(" ")
    }

    /// A backup of a running server; it begins from what the repository has.
    pub(crate) fn backup(&self, server: &Postgres) -> Vec<String> {
        self.words(&["--postgres", &server.socket_url(), "backup"])
    }

    /// A backup of a running server over the network.
    pub(crate) fn remote(&self, server: &Postgres, compression: &str) -> Vec<String> {
        self.words(&["--postgres", &server.url(), "backup", "--remote", "--compression", compression])
    }

    /// The newest backup into a directory.
    pub(crate) fn restore(&self, to: &Path, delta: bool) -> Vec<String> {
        let mut command = self.words(&["restore", "--to", &to.display().to_string()]);
        command.extend(delta.then(|| "--delta".to_owned()));
        command
    }

    /// What backups have stored, without the WAL that the server archived meanwhile.
    pub(crate) fn stored(&self) -> Result<u64> {
        size(&self.repo, &["pg"])
    }

    /// What is stored of the WAL.
    pub(crate) fn stored_wal(&self) -> Result<u64> {
        size(&self.repo.join("pg"), &[])
    }
}

impl PgBackRest {
    /// The one on PATH.
    pub(crate) fn find(home: &Path) -> Result<Option<Self>> {
        let Some(program) = on_path("pgbackrest") else { return Ok(None) };
        let said = Command::new(&program).arg("version").stdin(Stdio::null()).output()?;
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Ok(Some(Self { program, folder: home.join("peer"), version }))
    }

    /// Writes its settings for a server.
    pub(crate) fn configure(&self, server: &Postgres) -> Result<()> {
        for folder in ["repo", "log", "lock", "spool"] {
            std::fs::create_dir_all(self.folder.join(folder))?;
        }
        let at = |name: &str| self.folder.join(name).display().to_string();
        let text = format!(
            "[global]\nrepo1-path={}\nrepo1-bundle=y\nstart-fast=y\nprocess-max={WORKERS}\ncompress-type=zst\n\
             compress-level=3\nexpire-auto=n\nrepo1-retention-full=99\nlog-path={}\nlock-path={}\nspool-path={}\n\
             log-level-console=warn\n\n\
             [bench]\npg1-path={}\npg1-socket-path={}\npg1-port={}\npg1-user={}\n",
            at("repo"),
            at("log"),
            at("lock"),
            at("spool"),
            server.data_dir().display(),
            server.socket_dir().display(),
            server.port(),
            server.user()
        );
        Ok(std::fs::write(self.folder.join("pgbackrest.conf"), text)?)
    }

    /// Writes its settings for the WAL of a server that does not run: asynchronous, as it is fastest.
    pub(crate) fn configure_offline(&self, data: &Path) -> Result<()> {
        for folder in ["repo", "log", "lock", "spool"] {
            std::fs::create_dir_all(self.folder.join(folder))?;
        }
        let at = |name: &str| self.folder.join(name).display().to_string();
        let text = format!(
            "[global]\nrepo1-path={}\nprocess-max={WORKERS}\ncompress-type=zst\ncompress-level=3\narchive-async=y\n\
             log-path={}\nlock-path={}\nspool-path={}\nlog-level-console=warn\n\n[bench]\npg1-path={}\n",
            at("repo"),
            at("log"),
            at("lock"),
            at("spool"),
            data.display(),
        );
        Ok(std::fs::write(self.folder.join("pgbackrest.conf"), text)?)
    }

    /// Makes the repository and the spool anew, empty, for a server that does not run.
    pub(crate) fn fresh_offline(&self) -> Result<()> {
        for folder in ["repo", "spool"] {
            remove(&self.folder.join(folder))?;
            std::fs::create_dir(self.folder.join(folder))?;
        }
        call(&self.words(&["--no-online", "stanza-create"]))
    }

    /// The line for `restore_command` of a server in `data`.
    pub(crate) fn get(&self, data: &Path) -> String {
        let line = self.words(&[&format!("--pg1-path={}", data.display()), "archive-get", "%f", "%p"]);
        line.join(" ")
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let config = format!("--config={}", self.folder.join("pgbackrest.conf").display());
        words(&[&[&self.program, &config, "--stanza=bench"], more].concat())
    }

    /// Makes the repository anew, empty.
    pub(crate) fn fresh(&self) -> Result<()> {
        let repo = self.folder.join("repo");
        remove(&repo)?;
        std::fs::create_dir(&repo)?;
        call(&self.words(&["stanza-create"]))
    }

    /// The line for `archive_command`; the file comes last.
    pub(crate) fn push(&self) -> String {
        self.words(&["archive-push"]).join(" ")
    }

    /// A backup of the server that it is configured for.
    pub(crate) fn backup(&self, kind: Kind) -> Vec<String> {
        self.words(&[if kind == Kind::Full { "--type=full" } else { "--type=incr" }, "backup"])
    }

    /// The newest backup into a directory, which must exist.
    pub(crate) fn restore(&self, to: &Path, delta: bool) -> Vec<String> {
        let to = format!("--pg1-path={}", to.display());
        let more: &[&str] = if delta { &["--delta", &to, "restore"] } else { &[&to, "restore"] };
        self.words(more)
    }

    /// What backups have stored, without WAL.
    pub(crate) fn stored(&self) -> Result<u64> {
        size(&self.folder.join("repo/backup"), &[])
    }

    /// What is stored of the WAL.
    pub(crate) fn stored_wal(&self) -> Result<u64> {
        size(&self.folder.join("repo/archive"), &[])
    }

    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        self.version.clone()
    }
}

/// `pg_basebackup` into one compressed tar, which the server compresses.
pub(crate) fn base_backup(bin: &Path, server: &Postgres, to: &Path) -> Vec<String> {
    let program = bin.join("pg_basebackup").display().to_string();
    let (host, port) = (server.socket_dir().display().to_string(), server.port().to_string());
    let to = to.display().to_string();
    let compress = format!("--compress=server-zstd:level=3,workers={WORKERS}");
    words(&[
        &program,
        "-h",
        &host,
        "-p",
        &port,
        "-U",
        server.user(),
        "-D",
        &to,
        "-Ft",
        &compress,
        "-X",
        "none",
        "--checkpoint=fast",
    ])
}

/// The limit: nothing but reading, compressing and writing. None where `zstd` is not installed.
pub(crate) fn tar_zstd(data: &Path, to: &Path) -> Option<Vec<String>> {
    on_path("zstd")?;
    let line = format!(
        "tar -C '{}' --exclude=./pg_wal --exclude=./postmaster.pid -cf - . | zstd -q -T{WORKERS} -3 -o '{}'",
        data.display(),
        to.display()
    );
    Some(words(&["sh", "-c", &line]))
}

/// Removes a folder and all that is in it; one that is absent is removed already.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a command whose cost is not asked for.
pub(crate) fn call(command: &[String]) -> Result<()> {
    let (program, args) = command.split_first().context("no command to run")?;
    let done = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} does not start"))?;
    ensure!(
        done.status.success(),
        "{} failed: {}{}",
        command.join(" "),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

/// Owned words of a command line.
pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn on_path(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}
