//! Backup, verify, point-in-time restore: the library inside a program, on a disposable server.
//!
//! `cargo build --workspace --bins && target/debug/example-embed-backup`, as an ordinary user: the server archives through
//! `ops-backup` under the same user, so that both can write to the repository.

use anyhow::{anyhow, ensure};
use ops_backup::{BackupOptions, Monitor, PostgresEngine, RecoveryTarget, Repository, RestoreOptions};
use ops_backup::{RestoreTarget, VerifyOptions, backup, location, restore, verify};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Mode, Postgres, bin_exe};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let testkit = |error: ops_testkit::Error| anyhow!("{error:?}");
    let folder = tempfile::Builder::new().prefix("ops-example-").tempdir_in("/tmp")?;
    let place = folder.path().join("repo");
    let program = bin_exe("ops-backup").map_err(testkit)?;
    let command = format!("{} --repo {} --log-level warn wal", program.display(), place.display());

    let store = location::open(&place.display().to_string(), &location::LocationOptions::default())?;
    let repository = Repository::open_or_create(store, None).await?;
    let mut server = Postgres::builder()
        .durable(true)
        .archive_command(format!("{command} push %p"))
        .start()
        .map_err(testkit)?;
    server.psql("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 1000) n").map_err(testkit)?;

    let engine = PostgresEngine::new(ConnectionSettings::parse(&server.socket_url())?);
    let taken = backup(&repository, &engine, &BackupOptions::default(), &Monitor::default()).await?;
    tell(&format!("backup {}: {} files, {} bytes added", taken.id, taken.files, taken.added_bytes));
    let report = verify(&repository, &VerifyOptions::default(), &Monitor::default()).await?;
    ensure!(report.is_proven(), "the repository does not verify: {:?}", report.problems);

    let before = server.psql("SELECT clock_timestamp()").map_err(testkit)?;
    server.psql("SELECT pg_sleep(0.2); DELETE FROM orders; SELECT pg_switch_wal()").map_err(testkit)?;
    server.stop(Mode::Fast).map_err(testkit)?; // A clean stop archives the last segment.

    let options = RestoreOptions {
        target: RecoveryTarget::Time(before.parse()?),
        restore_command: format!("{command} fetch %f %p"),
        ..RestoreOptions::default()
    };
    let directory = folder.path().join("restored");
    let plan = restore::plan(&repository, RestoreTarget::check(&directory)?, options).await?;
    restore::apply(&repository, plan, &Monitor::default()).await?;
    let restored =
        Postgres::from_data_dir(&directory).setting("archive_mode", "off").start().map_err(testkit)?;
    let orders = restored.psql("SELECT count(*) FROM orders").map_err(testkit)?;
    ensure!(orders == "1000", "{orders} orders came back");
    tell(&format!("all {orders} orders are back"));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}
