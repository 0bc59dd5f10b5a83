//! The chapters, in their order. What a chapter knows it gets as an argument, so that a reader can follow the data.

use crate::child::Commands;
use crate::tell::{self, Teller};
use crate::{Args, closing, ledger, plan};
use anyhow::{Context as _, Result, bail, ensure};
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::GuardedClient;
use ops_telemetry::TraceId;
use ops_testkit::Postgres;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::time::sleep;

/// pgbench's scale: about 16 MB each.
const SCALE: &str = "15";

/// What everything else is measured against.
struct Damage {
    /// The last good moment, as the server's own clock tells it.
    moment: String,
    /// The write position at that moment.
    lsn: String,
}

/// Tells the whole story until everything in it is proven, and returns the restored server.
pub(crate) async fn tell(args: &Args, teller: Teller, trace_id: TraceId) -> Result<Postgres> {
    let home = args.home.as_path();
    let commands = Commands::new(home);
    let began = Instant::now();

    teller.chapter(1, "A PostgreSQL with real rows, archiving its WAL through ops-backup");
    let mut source = start_source(args, &commands, trace_id).await?;
    teller.good(&fill(&source).await?);

    teller.chapter(2, "An application works through the guarded client");
    guard(teller, &source).await?;

    teller.chapter(3, "Two encrypted backups while pgbench writes");
    let mut load = start_load(&commands, &source)?;
    let first = back_up(teller, &commands).await?;
    let second = back_up(teller, &commands).await?;
    ensure!(second * 2 < first, "the second backup added {second} bytes, the first {first}");

    teller.chapter(4, "The damage: unguarded statements, then the whole cluster is lost");
    let damage = destroy(teller, &mut source, &mut load).await?;
    let password = source.password().unwrap_or_default().to_owned();
    let data = source.data_dir().to_path_buf();
    source.kill();
    plan::write(&home.join("logs/postgres-lost.log"), &source.log())?;
    drop(load);
    drop(source);
    ensure!(!data.exists(), "the data directory {} is still there", data.display());
    teller.damage("the server is killed with SIGKILL, and its data directory is gone");

    teller.chapter(5, "Restore to the moment before the damage");
    let restored_at = Instant::now();
    let restored = restore(teller, args, &commands, &damage, &password).await?;
    let back = restored_at.elapsed();

    teller.chapter(6, "The release gate, before and after the rehearsal");
    plan::write(&home.join("release.sql"), plan::RELEASE_SQL)?;
    plan::write(&home.join("release.toml"), &plan::release(home, &restored.socket_url()))?;
    gate(teller, &commands, "before", 20).await?;
    let (record, file) = rehearse(teller, &commands, &damage).await?;
    gate(teller, &commands, "after", 0).await?;

    plan::write(&home.join("logs/postgres-restored.log"), &restored.log())?;
    close(
        teller,
        home,
        &Closing {
            began,
            back,
            damage: &damage,
            record: &record,
            evidence: &file,
            trace_id,
            kept: args.keep,
        },
    )?;
    Ok(restored)
}

/// Writes keys, settings and repository, and starts the server that will be lost.
async fn start_source(args: &Args, commands: &Commands, trace_id: TraceId) -> Result<Postgres> {
    let home = args.home.as_path();
    plan::write(&home.join("ops.toml"), &plan::settings(home, &args.postgres_bin, ""))?;
    let keys = home.join("keys").display().to_string();
    commands.run("ops-backup", &["evidence", "key", &keys]).await?;
    commands.run("ops-backup", &["key", "new", &plan::backup_key(home).display().to_string()]).await?;
    commands.run("ops-backup", &["init"]).await?;
    let push = format!(
        "{} --config {} --log-format json wal push %p",
        commands.program("ops-backup").display(),
        home.join("ops.toml").display()
    );
    let server = Postgres::builder()
        .durable(true)
        .checksums(true)
        .archive_command(push)
        .setting("archive_timeout", "10")
        .setting("log_line_prefix", format!("%m [%p] trace_id={trace_id} "))
        .setting("log_checkpoints", "on")
        .setting("max_wal_size", "1GB")
        .start()
        .map_err(|error| anyhow::anyhow!("PostgreSQL does not start: {error:?}"))?;
    plan::write(&home.join("ops.toml"), &plan::settings(home, &args.postgres_bin, &server.socket_url()))?;
    Ok(server)
}

/// Loads pgbench's tables and the ledger; says how much that is.
async fn fill(server: &Postgres) -> Result<String> {
    let mut pgbench = tokio::process::Command::from(server.command("pgbench"));
    pgbench.args(["-i", "-q", "-s", SCALE]).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let done = pgbench.output().await.context("pgbench does not start")?;
    ensure!(done.status.success(), "pgbench -i failed: {}", String::from_utf8_lossy(&done.stderr));
    let client = plain(&server.socket_url()).await?;
    client.batch_execute(&ledger::create()).await.context("the ledger cannot be created")?;
    let size: i64 = client.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0);
    let size = u64::try_from(size).unwrap_or(0);
    ensure!(size >= 200_000_000, "only {size} bytes were loaded");
    Ok(format!(
        "PostgreSQL {} on a private socket, {} of rows, and a ledger of {}",
        server.major(),
        tell::bytes(size),
        ledger::ask(&client).await?
    ))
}

/// Good statements pass, bad ones are refused, and the ledger is as it was.
async fn guard(teller: Teller, server: &Postgres) -> Result<()> {
    let settings = ConnectionSettings::parse(&server.socket_url())?.with_application("ops-demo", None);
    let client = GuardedClient::connect(&settings, Policy::app()).await?;
    for (name, sql) in ledger::GOOD {
        let rows = client.execute(sql, &[]).await.with_context(|| format!("{name} was refused"))?;
        teller.good(&format!("{name}: {sql} (rows: {rows})"));
    }
    for (name, sql) in ledger::BAD {
        let Err(error) = client.execute(sql, &[]).await else { bail!("{name} was not refused: {sql}") };
        let verdict = error.denial().with_context(|| format!("{name} failed for another reason: {error}"))?;
        teller.refused(&format!("{name}: {sql}"));
        for denied in verdict.denied() {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            teller.detail(&format!(
                "{}: {}\nhint: {}",
                denied.rule.as_deref().unwrap_or("?"),
                text(&denied.reason),
                text(&denied.hint)
            ));
        }
    }
    let plain = plain(&server.socket_url()).await?;
    let found = ledger::ask(&plain).await?;
    ensure!(found == ledger::answer(), "the ledger changed: {found}");
    teller.good(&format!("the ledger is whole: {found}"));
    Ok(())
}

fn start_load(commands: &Commands, server: &Postgres) -> Result<Child> {
    let args = ["-n", "-c", "2", "-R", "300", "-T", "600"].map(str::to_owned);
    commands.background(server.command("pgbench"), &args, "pgbench.out")
}

/// Takes a backup, and returns how many bytes it added to the repository.
async fn back_up(teller: Teller, commands: &Commands) -> Result<u64> {
    let began = Instant::now();
    let done = commands.json("ops-backup", &["backup"]).await?;
    let backup = done.get("backup").context("ops-backup told of no backup")?;
    let text = |name: &str| backup.get(name).and_then(Value::as_str).unwrap_or("?");
    let number = |name: &str| {
        let number = backup.get(name).and_then(Value::as_u64);
        number.with_context(|| format!("ops-backup told no `{name}`"))
    };
    let added = number("added_bytes")?;
    teller.good(&format!(
        "backup {} in {}: {} of {} are new, {} added to the repository",
        text("id"),
        tell::seconds(began.elapsed()),
        tell::bytes(number("new_bytes")?),
        tell::bytes(number("raw_bytes")?),
        tell::bytes(added)
    ));
    if let Some(base) = backup.get("base").and_then(Value::as_str) {
        teller.detail(&format!(
            "what has not changed since {base} is referred to; either restores without the other"
        ));
    }
    Ok(added)
}

/// Notes the last good moment, destroys for real, and waits until the archive has what leads up to that moment.
async fn destroy(teller: Teller, server: &mut Postgres, load: &mut Child) -> Result<Damage> {
    sleep(Duration::from_secs(2)).await;
    let client = plain(&server.socket_url()).await?;
    client.execute("INSERT INTO heartbeat VALUES (clock_timestamp())", &[]).await?;
    // The position first: whatever is written between the two is then no loss.
    let lsn: String = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
    let clock = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let moment: String = client.query_one(clock, &[]).await?.get(0);
    let damage = Damage { moment, lsn };
    teller.good(&format!("the last good moment is {} at WAL position {}", damage.moment, damage.lsn));
    sleep(Duration::from_millis(300)).await;
    client.batch_execute("DELETE FROM ledger").await?;
    client.batch_execute("DROP TABLE pgbench_accounts").await?;
    teller.damage("DELETE FROM ledger; DROP TABLE pgbench_accounts; (over a connection without a guard)");
    // pgbench fails from here on; its last transactions are what the target cuts off.
    let _ = load.wait().await;
    let file: String = client.query_one("SELECT pg_walfile_name(pg_current_wal_lsn())", &[]).await?.get(0);
    client.batch_execute("SELECT pg_switch_wal()").await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let row =
            client.query_one("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver", &[]).await?;
        let archived: String = row.get(0);
        if archived >= file {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "segment {file} was not archived within a minute, only {archived}"
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(damage)
}

/// Restores, lets the stock tools judge the files, starts the server and asks it.
async fn restore(
    teller: Teller,
    args: &Args,
    commands: &Commands,
    damage: &Damage,
    password: &str,
) -> Result<Postgres> {
    let to = args.home.join("restored");
    let directory = to.display().to_string();
    let words = ["restore", "--to", &directory, "--target-time", &damage.moment];
    let plan = commands.run("ops-backup", &[&words[..], &["--plan"]].concat()).await?;
    teller.detail(&plan);
    let began = Instant::now();
    commands.run("ops-backup", &words).await?;
    teller.good(&format!("the files are back in {}", tell::seconds(began.elapsed())));
    referee(args, "pg_verifybackup", &["--no-parse-wal".into(), "--quiet".into(), directory.clone()]).await?;
    teller.good("pg_verifybackup accepts every file");
    let began = Instant::now();
    let server = Postgres::from_data_dir(to)
        .password(password)
        .setting("archive_mode", "off")
        .patience(Duration::from_secs(120))
        .start()
        .map_err(|error| anyhow::anyhow!("the restored server does not start: {error:?}"))?;
    let client = plain(&server.socket_url()).await?;
    while client.query_one("SELECT pg_is_in_recovery()", &[]).await?.get::<_, bool>(0) {
        ensure!(began.elapsed() < Duration::from_secs(120), "recovery did not end within two minutes");
        sleep(Duration::from_millis(50)).await;
    }
    teller
        .good(&format!("started, WAL replayed to the target, promoted: {}", tell::seconds(began.elapsed())));
    let found = ledger::ask(&client).await?;
    ensure!(found == ledger::answer(), "the restored ledger is not the one that was lost: {found}");
    teller.good(&format!("the ledger is back: {found}"));
    let amcheck = [
        "--all",
        "--install-missing",
        "--host",
        &server.socket_dir().display().to_string(),
        "--port",
        &server.port().to_string(),
        "--username",
        server.user(),
    ];
    referee(args, "pg_amcheck", &amcheck.map(str::to_owned)).await?;
    teller.good("pg_amcheck finds every table and index sound");
    Ok(server)
}

/// Runs the gate and compares its exit code with the one that belongs to this point of the story.
async fn gate(teller: Teller, commands: &Commands, when: &str, expected: i32) -> Result<()> {
    let said =
        commands.ask("ops-gate", &["run", "release.toml", "--run-dir", &format!("gate-{when}")]).await?;
    ensure!(
        said.code == expected,
        "the gate {when} the rehearsal ended with exit code {} instead of {expected}: {}",
        said.code,
        said.stdout
    );
    let title = if expected == 0 { "PASSED" } else { "BLOCKED" };
    let line = format!("{when} the rehearsal: {title} (exit code {expected})");
    if expected == 0 {
        teller.good(&line)
    } else {
        teller.refused(&line)
    }
    teller.detail(said.stdout.trim_end());
    Ok(())
}

/// Rehearses the restore and returns the record with the path of its envelope.
async fn rehearse(teller: Teller, commands: &Commands, damage: &Damage) -> Result<(Value, PathBuf)> {
    let assertion = format!("ledger=postgres:{}={}", ledger::QUESTION, ledger::answer());
    let scratch = commands.home().display().to_string();
    let done = commands
        .json(
            "ops-backup",
            &[
                "rehearse",
                "--target-time",
                &damage.moment,
                "--wanted-lsn",
                &damage.lsn,
                "--assert",
                &assertion,
                "--scratch",
                &scratch,
            ],
        )
        .await?;
    let record = done.get("record").cloned().context("the rehearsal has no record")?;
    let file = done.get("evidence").and_then(Value::as_str).context("the rehearsal wrote no evidence")?;
    for check in record.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default();
        ensure!(
            text("outcome") == "passed",
            "the rehearsal's check {} ended as {}: {}",
            text("name"),
            text("outcome"),
            text("detail")
        );
        teller.good(&format!("rehearsal: {}: {}", text("name"), text("detail")));
    }
    Ok((record, PathBuf::from(file)))
}

/// What the closing table needs.
struct Closing<'a> {
    began: Instant,
    back: Duration,
    damage: &'a Damage,
    record: &'a Value,
    evidence: &'a Path,
    trace_id: TraceId,
    kept: bool,
}

fn close(teller: Teller, home: &Path, all: &Closing<'_>) -> Result<()> {
    let logs = closing::check_logs(&home.join("logs"), &all.trace_id.to_string())?;
    let phases = ["restore", "verify", "start", "replay", "checks"];
    let phases: Vec<String> = phases
        .iter()
        .map(|name| format!("{name} {}", closing::seconds(all.record, &format!("{name}_seconds"))))
        .collect();
    let lost_bytes = closing::measurement(all.record, "data_lost_bytes")
        .map_or_else(|| "unknown".into(), |bytes| format!("{bytes:.0} bytes of WAL"));
    teller.chapter(7, "What is proven");
    teller.row("back in service after", &tell::seconds(all.back));
    teller.row("recovery time (rehearsed)", &closing::seconds(all.record, "recovery_time_seconds"));
    teller.row("  by phase", &phases.join(", "));
    teller.row("recovery point", &format!("target {} at {}", all.damage.moment, all.damage.lsn));
    teller
        .row("  data lost", &format!("{}, {lost_bytes}", closing::seconds(all.record, "data_lost_seconds")));
    teller.row("release gate", "BLOCKED without the rehearsal, PASSED with it");
    let removed = if all.kept { "" } else { " (removed with the rest; --keep leaves it)" };
    teller.row("evidence", &format!("{}{removed}", all.evidence.display()));
    teller.row(
        "trace_id",
        &format!("{} on all {} log lines in {} files", all.trace_id, logs.lines, logs.files),
    );
    teller.row("the whole story took", &tell::seconds(all.began.elapsed()));
    Ok(())
}

/// A connection without any guard: what a person with psql has.
async fn plain(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.context("the server does not answer")?;
    tokio::spawn(async move {
        // The server is killed in this story: the end of a connection is no news.
        let _ = connection.await;
    });
    Ok(client)
}

/// Lets one of PostgreSQL's own tools judge.
async fn referee(args: &Args, tool: &str, words: &[String]) -> Result<()> {
    let mut command = tokio::process::Command::new(args.postgres_bin.join(tool));
    let done = command
        .args(words)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{tool} does not start"))?;
    ensure!(
        done.status.success(),
        "{tool} refuses: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}
