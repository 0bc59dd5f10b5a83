//! PostgreSQL's own programs as judges: of the restored files, the WAL, the indexes and the rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ops_backup::postgres::control::ControlFile;
use ops_backup::wal::{self, Fetched};
use ops_backup::{Backup, RecoveryTarget};
use ops_testkit::{Mode, Postgres, bin_dir};

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::support::Site;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{complaints}");
    text
}

/// Every table and index of a running server is sound, and every row is in every index.
pub(crate) fn amcheck(server: &Postgres) {
    run(server.command("pg_amcheck").args(["--install-missing", "--all", "--heapallindexed"]));
}

/// Stops the server, and every page that it has written carries a right checksum.
pub(crate) fn checksums(server: &mut Postgres) {
    server.stop(Mode::Fast).unwrap();
    run(server.command("pg_checksums").arg("--check").arg("-D").arg(server.data_dir()));
}

/// All rows and definitions, as text.
pub(crate) fn dump(server: &Postgres) -> String {
    let text = run(&mut server.command("pg_dump"));
    // A random word guards the text since 2025.
    let lines =
        text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Fetches the whole archive of a cluster, and returns where it is.
pub(crate) async fn archive(site: &Site, name: &str) -> PathBuf {
    let directory = site.root.path().join(name);
    fs::create_dir(&directory).unwrap();
    let cluster = ControlFile::read(site.postgres.data_dir()).unwrap().cluster;
    let archive = site.place().join(format!("pg/{}/wal", cluster.system_identifier));
    for timeline in fs::read_dir(archive).unwrap() {
        for file in fs::read_dir(timeline.unwrap().path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            // The archiver may be at work: what a local store has not finished has such a name.
            if name.contains('#') {
                continue;
            }
            let to = directory.join(&name);
            assert_eq!(wal::fetch(&site.repository, &cluster, &name, &to).await.unwrap(), Fetched::Written);
        }
    }
    directory
}

/// The WAL that a backup needs is in the archive and can be read record by record; so can the rest of its timeline.
pub(crate) fn waldump(backup: &Backup, archive: &Path) {
    let facts = backup.postgres().unwrap();
    let program = bin_dir(facts.cluster.major).unwrap().join("pg_waldump");
    let text = run(Command::new(program)
        .arg("-p")
        .arg(archive)
        .args(["-t", &facts.timeline.to_string()])
        .args(["-s", &facts.start_lsn.to_string(), "-e", &facts.stop_lsn.to_string()]));
    assert!(text.contains("CHECKPOINT_ONLINE"), "the checkpoint that the backup began with: {text}");
    assert!(text.contains("BACKUP_END"), "{text}");
}

/// As [`verify_backup`], with the WAL.
pub(crate) fn verify_backup_and_wal(backup: &Backup, data: &Path, archive: &Path) {
    let program = bin_dir(backup.postgres().unwrap().cluster.major).unwrap().join("pg_verifybackup");
    run(Command::new(program).arg("-w").arg(archive).arg(data));
}

/// A load that goes on until it is dropped.
pub(crate) struct Load {
    pgbench: std::process::Child,
}

impl Load {
    pub(crate) fn start(server: &Postgres) -> Self {
        let mut pgbench = server.command("pgbench");
        pgbench.args(["-n", "-c", "2", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        Load { pgbench: pgbench.spawn().unwrap() }
    }

    /// Waits until the server has committed some more of it.
    pub(crate) async fn goes_on(&self, server: &Postgres) {
        let count = || server.psql("SELECT count(*) FROM pgbench_history").unwrap().parse::<u64>().unwrap();
        let before = count();
        while count() < before + 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the load, and waits for the end of its sessions.
    pub(crate) async fn stop(self, server: &Postgres) {
        drop(self);
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'";
        while server.psql(sessions).unwrap() != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.pgbench.kill().ok();
        self.pgbench.wait().ok();
    }
}

/// Content of files by path, of a cluster at rest: what a physical backup must hold.
fn relations(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for database in fs::read_dir(data.join("base")).unwrap() {
        for file in fs::read_dir(database.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("pg_internal.init") && !name.starts_with("pgsql_tmp") {
                found.insert(path.strip_prefix(data).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Both clusters have the same relations, byte for byte.
pub(crate) fn assert_same_relations(original: &Path, restored: &Path, context: &str) {
    let (original, restored) = (relations(original), relations(restored));
    assert!(original.keys().eq(restored.keys()), "{context}: other files");
    for (path, content) in original {
        assert!(restored[&path] == content, "{context}: {} differs", path.display());
    }
}

/// The manifest that the server itself wrote while nothing happened describes the restored files too.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_cluster_is_restored_as_the_server_copies_it() {
    let site = Site::start_with(|cluster| cluster.setting("autovacuum", "off")).await;
    site.run("pgbench", &["-i", "-q", "-s", "1"]);
    site.psql("CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 1000) AS n");
    site.psql("CREATE DATABASE another");
    site.psql("VACUUM");
    site.psql("CHECKPOINT");
    let copy = site.root.path().join("copy");
    site.run(
        "pg_basebackup",
        &["-c", "fast", "-X", "none", "-D", copy.to_str().unwrap(), "--manifest-checksums=SHA256"],
    );
    let backup = site.backup().await;
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    // These tell the two backups apart; all else must be equal, and nothing may be missing or left over.
    run(Command::new(bin_dir(site.postgres.major()).unwrap().join("pg_verifybackup"))
        .args(["-n", "-i", "backup_label", "-i", "global/pg_control", "-m"])
        .arg(copy.join("backup_manifest"))
        .arg(&restored.data_directory));
    assert_same_relations(&copy, &restored.data_directory, "the server's own copy");

    let archive = archive(&site, "archive").await;
    waldump(&backup, &archive);
    verify_backup_and_wal(&backup, &restored.data_directory, &archive);
    // The referee itself must be able to say no.
    let last = site.psql("SELECT pg_walfile_name(pg_lsn(start_lsn)) FROM (SELECT checkpoint_lsn AS start_lsn FROM pg_control_checkpoint()) AS c");
    fs::remove_file(archive.join(&last)).unwrap();
    let program = bin_dir(site.postgres.major()).unwrap().join("pg_verifybackup");
    let refused =
        Command::new(program).arg("-w").arg(&archive).arg(&restored.data_directory).output().unwrap();
    assert!(!refused.status.success(), "without {last}");

    let expected = dump(&site.postgres);
    verify_backup(site.postgres.major(), &restored.data_directory);
    let mut server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT count(*) FROM unlogged").unwrap(), "0");
    server.psql("INSERT INTO unlogged SELECT generate_series(1, 1000) AS n").unwrap();
    assert!(dump(&server) == expected, "the rows differ");
    amcheck(&server);
    checksums(&mut server);
}
