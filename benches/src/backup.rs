//! Full backup and restore of one cluster: ours, pg_basebackup, pgBackRest.

use crate::measure::{self, Cost};
use crate::table::{OURS, Row, Table};
use crate::{Args, Outcome};
use anyhow::{Context as _, Result, anyhow, ensure};
use ops_testkit::Postgres;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Two workers each, zstd level 3 each, local repository each.
const WORKERS: &str = "2";

/// Counted runs of each command, where nobody says how many.
const RUNS: usize = 3;

/// Runs the whole comparison on a fresh cluster.
pub(crate) fn compare(args: &Args) -> Result<Outcome> {
    let runs = args.runs.unwrap_or(RUNS);
    let home = args.home.as_path();
    let pgbackrest = on_path("pgbackrest");
    let ours = home.join("bin/ops-backup").display().to_string();
    let repo = home.join("ours").display().to_string();
    call(&[&ours, "--repo", &repo, "init"])?;
    let server = start(home, &ours, &repo, pgbackrest.is_some())?;
    if let Some(program) = &pgbackrest {
        // Before anything is archived: until the peer has its stanza, the archiver tries the first segment again and again.
        call(&[program, &pgbackrest_config(home, &server)?, "--stanza=bench", "stanza-create"])?;
    }
    let data = fill(&server, args.scale)?;
    let mut rows = Vec::new();

    let url = server.socket_url();
    let command = words(&[&ours, "--repo", &repo, "--postgres", &url, "--log-level", "warn", "backup"]);
    rows.push(row("backup", &format!("{OURS} zstd 3"), runs, Some(Path::new(&repo).join("packs")), |_| {
        Ok(command.clone())
    })?);
    rows.push(base_backup(args, runs, &server)?);
    rows.push(match &pgbackrest {
        Some(program) => {
            let config = format!("--config={}", home.join("pgbackrest.conf").display());
            let command = words(&[program, &config, "--stanza=bench", "--type=full", "backup"]);
            row("backup", "pgbackrest zst 3, bundle", runs, Some(home.join("peer/backup")), |_| {
                Ok(command.clone())
            })?
        }
        None => absent("backup", "pgbackrest"),
    });

    rows.push(row("restore", OURS, runs, None, |run| {
        let to = home.join(format!("ours-restored-{run}")).display().to_string();
        Ok(words(&[&ours, "--repo", &repo, "--log-level", "warn", "restore", "--to", &to]))
    })?);
    rows.push(match &pgbackrest {
        Some(program) => row("restore", "pgbackrest", runs, None, |run| {
            let to = home.join(format!("peer-restored-{run}"));
            std::fs::create_dir(&to)?;
            let config = format!("--config={}", home.join("pgbackrest.conf").display());
            Ok(words(&[
                program,
                &config,
                "--stanza=bench",
                &format!("--pg1-path={}", to.display()),
                "restore",
            ]))
        })?,
        None => absent("restore", "pgbackrest"),
    });
    let table = Table { schema: "ops-benches/backup/v1", data, rows };
    Ok(Outcome { text: table.text(), json: table.json() })
}

/// A server that archives into our repository, and into the peer's where it is installed.
fn start(home: &Path, ours: &str, repo: &str, with_peer: bool) -> Result<Postgres> {
    let push = format!("{ours} --repo {repo} --log-level warn wal push %p");
    let peer = format!(
        "pgbackrest --config={} --stanza=bench archive-push %p",
        home.join("pgbackrest.conf").display()
    );
    let command = if with_peer { format!("{push} && {peer}") } else { push };
    let server = Postgres::builder()
        .durable(true)
        .archive_command(command)
        .setting("max_wal_size", "4GB")
        .setting("shared_buffers", "256MB");
    server.start().map_err(|error| anyhow!("PostgreSQL does not start: {error:?}"))
}

/// pgbench's rows, whose filler compresses far too well, and as much text that does not compress like that.
fn fill(server: &Postgres, scale: u32) -> Result<String> {
    let done = server
        .command("pgbench")
        .args(["-i", "-q", "-s", &scale.to_string()])
        .stdin(Stdio::null())
        .output()?;
    ensure!(done.status.success(), "pgbench -i failed: {}", String::from_utf8_lossy(&done.stderr));
    let rows = scale * 40_000;
    let sql = format!(
        "CREATE TABLE random_text AS SELECT n AS id, md5(n::text || random()) || md5(random()::text) AS body FROM generate_series(1, {rows}) n;
         VACUUM ANALYZE; CHECKPOINT; SELECT pg_size_pretty(pg_database_size(current_database()))"
    );
    let size = server.psql(&sql).map_err(|error| anyhow!("{error:?}"))?;
    Ok(format!(
        "PostgreSQL {}, pgbench scale {scale} and {rows} rows of random text, {size}; {WORKERS} workers, zstd 3, medians",
        server.major()
    ))
}

fn base_backup(args: &Args, runs: usize, server: &Postgres) -> Result<Row> {
    let program = args.postgres_bin.join("pg_basebackup").display().to_string();
    let (host, port) = (server.socket_dir().display().to_string(), server.port().to_string());
    let stored = args.home.join("base");
    std::fs::create_dir(&stored)?;
    row("backup", "pg_basebackup -Ft server-zstd:3", runs, Some(stored.clone()), |run| {
        let to = stored.join(run.to_string()).display().to_string();
        Ok(words(&[
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
            "--compress=server-zstd:level=3,workers=2",
            "-X",
            "none",
            "--checkpoint=fast",
        ]))
    })
}

fn pgbackrest_config(home: &Path, server: &Postgres) -> Result<String> {
    let path = home.join("pgbackrest.conf");
    for folder in ["peer", "peer-log", "peer-lock", "peer-spool"] {
        std::fs::create_dir_all(home.join(folder))?;
    }
    let at = |name: &str| home.join(name).display().to_string();
    let text = format!(
        "[global]\nrepo1-path={}\nrepo1-bundle=y\nstart-fast=y\nprocess-max={WORKERS}\ncompress-type=zst\ncompress-level=3\nlog-path={}\nlock-path={}\nspool-path={}\nlog-level-console=warn\nrepo1-retention-full=9\n\n[bench]\npg1-path={}\npg1-socket-path={}\npg1-port={}\npg1-user={}\n",
        at("peer"),
        at("peer-log"),
        at("peer-lock"),
        at("peer-spool"),
        server.data_dir().display(),
        server.socket_dir().display(),
        server.port(),
        server.user()
    );
    std::fs::write(&path, text)?;
    Ok(format!("--config={}", path.display()))
}

/// Measures a command some times; the command of each run is made before its clock starts.
fn row(
    task: &'static str,
    program: &str,
    runs: usize,
    store: Option<PathBuf>,
    mut command: impl FnMut(usize) -> Result<Vec<String>>,
) -> Result<Row> {
    eprintln!("{task}: {program}");
    let mut costs: Vec<Cost> = Vec::new();
    let mut stored = None;
    for run in 0..runs.max(1) {
        let words = command(run)?;
        costs.push(measure::run(&words).with_context(|| format!("{task} by {program}"))?);
        // The first one: later ones of a content-addressed store add next to nothing, and that would be no fair figure.
        if let (None, Some(folder)) = (stored, &store) {
            stored = Some(size(folder)?);
        }
    }
    Ok(Row { task, program: program.to_owned(), cost: Some(measure::median(&costs)), stored })
}

fn absent(task: &'static str, program: &str) -> Row {
    Row { task, program: program.to_owned(), cost: None, stored: None }
}

fn size(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?
    {
        let entry = entry?;
        let meta = entry.path().symlink_metadata()?;
        total += if meta.is_dir() { size(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}

fn call(command: &[&str]) -> Result<()> {
    let done = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", command[0]))?;
    ensure!(
        done.status.success(),
        "{} failed: {}{}",
        command.join(" "),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn on_path(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}
