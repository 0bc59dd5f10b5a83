//! Backups and a rehearsal of stage's database, by `ops-backup` as its user runs it.

use super::servers::{in_shop, mode};
use super::{program, succeed};
use ops_testkit::{Postgres, TestUser};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository of backups, with its keys and settings.
pub(crate) struct Archive {
    folder: PathBuf,
    program: PathBuf,
    user: TestUser,
}

impl Archive {
    pub(crate) fn new(home: &Path) -> Result<Self, String> {
        let text = |error: ops_testkit::Error| error.to_string();
        let user = TestUser::find().map_err(text)?;
        let folder = home.join("backup");
        user.create_dir(&folder).map_err(text)?;
        let program = ops_testkit::public_copy(&program("ops-backup")).map_err(text)?;
        let archive = Self { folder, program, user };
        archive.settle("");
        archive.run(&["evidence", "key", &archive.path("keys")]);
        archive.run(&["key", "new", &archive.path("backup.key")]);
        archive.run(&["init"]);
        Ok(archive)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// What `archive_command` is.
    pub(crate) fn push(&self) -> String {
        format!("{} --config {} wal push %p", self.program.display(), self.path("ops.toml"))
    }

    /// Writes the settings, with the server where there is one by now; returns them.
    fn settle(&self, url: &str) -> String {
        let major = ops_testkit::default_major().expect("a server");
        let bin = ops_testkit::bin_dir(major).expect("a server");
        let text = format!(
            "[backup]\nrepo = {:?}\nkey_file = {:?}\npostgres = {url:?}\npostgres_bin = {:?}\nsigning_key = {:?}\nevidence_dir = {:?}\n",
            self.path("repo"),
            self.path("backup.key"),
            bin.display().to_string(),
            self.path("keys/signing.pem"),
            self.path("evidence"),
        );
        std::fs::write(self.folder.join("ops.toml"), &text).expect("a file");
        mode(&self.folder.join("ops.toml"), 0o644);
        text
    }

    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(["--config", &self.path("ops.toml")]).args(words).current_dir(&self.folder);
        self.user.apply(&mut command);
        succeed(&mut command)
    }

    /// Takes as many backups as a usual size needs, and rehearses a restore of all that was committed. Returns the settings
    /// for whoever lists the backups.
    pub(crate) fn fill(&self, server: &Postgres) -> String {
        let settings = self.settle(&server.socket_url());
        for _ in 0..4 {
            self.run(&["backup"]);
        }
        in_shop(server, "INSERT INTO orders VALUES (2)");
        let position = server.psql("SELECT pg_current_wal_insert_lsn()").expect("a position");
        let segment = server.psql("SELECT pg_walfile_name(pg_current_wal_lsn())").expect("a name");
        server.psql("SELECT pg_switch_wal()").expect("a switch");
        let archived = || {
            server.psql(
                "SELECT last_archived_wal >= '{}' FROM pg_stat_archiver".replace("{}", &segment).as_str(),
            )
        };
        while archived().expect("an answer") != "t" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let assertion = "orders-smoke=shop:SELECT count(*) = 2 FROM orders=t";
        self.run(&[
            "rehearse",
            "--wanted-lsn",
            &position,
            "--assert",
            assertion,
            "--scratch",
            &self.path(""),
        ]);
        settings
    }
}
