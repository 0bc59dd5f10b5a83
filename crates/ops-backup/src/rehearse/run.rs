//! The phases of a rehearsal, in their order. How each one works stands in its own file.

use std::time::{Duration, Instant};

use ops_core::evidence::Outcome;
use tokio_postgres::Client;
use tracing::Instrument as _;

use super::measure::{self, ArchiveEnd};
use super::options::{RehearseOptions, Requirement, RunAs};
use super::process::Launcher;
use super::record::Journal;
use super::referees;
use super::server::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::job::reach;
use crate::job::restore::{self, Owner, RestoreOptions, RestoreTarget, Restored};
use crate::monitor::{Monitor, Phase};
use crate::postgres::control::ControlFile;
use crate::postgres::lsn::Lsn;
use crate::postgres::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, PostgresBackup};
use crate::wal::{archive, tail};

/// What all phases share.
pub(super) struct Run<'a> {
    pub(super) repository: &'a Repository,
    pub(super) backup: &'a Backup,
    pub(super) facts: &'a PostgresBackup,
    pub(super) launcher: Launcher<'a>,
    pub(super) monitor: &'a Monitor,
}

impl Run<'_> {
    /// Goes through the phases until one shows that the backup does not restore.
    ///
    /// # Errors
    /// What ended the rehearsal; all but a cancellation is in the journal by then.
    pub(super) async fn phases(&self, journal: &mut Journal) -> Result<()> {
        let (restored, took) = self.phase(journal, "restore", self.restore()).await?;
        journal.measurements.restore = Some(took);
        journal.measurements.restored_bytes = Some(restored.bytes);
        journal.passed("restore", format!("{} files were restored with their checksums", restored.files));
        if !self.verify(journal).await? {
            return Ok(());
        }
        // Replay must reach what is archived by now. What comes later is a gift.
        let (archive, _) =
            self.phase(journal, "replay", self.monitor.until_cancelled(self.archive_end())).await?;
        let (mut server, client) = self.start(journal).await?;
        if self.replay(journal, &mut server, &client, &archive).await? {
            self.checks(journal, &server).await?;
        }
        Ok(())
    }

    async fn restore(&self) -> Result<Restored> {
        let Launcher { options, scratch } = self.launcher;
        // Tablespaces too: their original places may be those of a running server.
        let oids = self.facts.tablespaces.iter().map(|tablespace| tablespace.oid);
        let tablespaces = oids.map(|oid| (oid, scratch.tablespaces().join(oid.to_string()))).collect();
        let restore = RestoreOptions {
            backup: Some(self.backup.id.clone()),
            tablespaces,
            owner: options.run_as.map(|RunAs { uid, gid }| Owner { uid, gid }),
            restore_command: options.restore_command.clone(),
            ..restore_options(options)
        };
        let directory = RestoreTarget::check(&scratch.data())?;
        let plan = restore::plan(self.repository, directory, restore).await?;
        restore::apply(self.repository, plan, self.monitor).await
    }

    async fn archive_end(&self) -> Result<ArchiveEnd> {
        let PostgresBackup { cluster, timeline, start_lsn, .. } = self.facts;
        let history = reach::newest(self.repository, self.facts).await?.history;
        let reach = archive::reach(self.repository, cluster, &history, *timeline, *start_lsn).await?;
        let newest = cluster.segment_size.segment_before(reach.end);
        let mut stored_at = None;
        for (timeline, _) in history.spans_from(*timeline) {
            stored_at = archive::stored_at(self.repository, cluster, timeline, newest).await?.or(stored_at);
        }
        let begins = Lsn(reach.end.0.saturating_sub(cluster.segment_size.bytes()));
        let mut ends = reach.end;
        // The copy gets what is known of the segment behind the last one, so that is what it is measured by.
        if self.options().restore_command_with_tail.is_some()
            && let Some(tail) = restore::tail(self.repository, self.facts, &history, &reach).await?
        {
            ends = tail.lsn;
            stored_at = tail::stored_at(self.repository, cluster, &tail).await?.or(stored_at);
        }
        Ok(ArchiveEnd { begins, ends, stored_at, gap: reach.missing.first().copied() })
    }

    /// Says whether the copy is worth starting.
    async fn verify(&self, journal: &mut Journal) -> Result<bool> {
        if self.options().verify_backup == Requirement::Skipped {
            return Ok(true);
        }
        self.monitor.phase(Phase::Verify, 0);
        let verify = self.monitor.until_cancelled(referees::verify_backup(&self.launcher));
        let (check, took) = self.phase(journal, "pg_verifybackup", verify).await?;
        journal.measurements.verify = Some(took);
        let passed = check.outcome == Outcome::Passed;
        journal.checks.push(check);
        Ok(passed)
    }

    /// Starts the server and waits until it answers.
    async fn start(&self, journal: &mut Journal) -> Result<(Server, Client)> {
        self.monitor.phase(Phase::Replay, 0);
        let started = Instant::now();
        let spawned = async {
            let control = ControlFile::read(&self.launcher.scratch.data())?;
            Server::start(&self.launcher, &control.minimum_settings)
        };
        let (mut server, _) = self.phase(journal, "start", spawned).await?;
        let accepting =
            self.monitor.until_cancelled(server.wait_until_accepting(&self.options().database)).await;
        // Replay up to the end of the backup comes first, and may be what fails.
        let name = if accepting.is_err() && server.has_begun_replay() { "replay" } else { "start" };
        let (client, _) = self.phase(journal, name, async { accepting }).await?;
        journal.measurements.start = Some(started.elapsed());
        journal.passed("start", "the server is consistent and answers");
        Ok((server, client))
    }

    /// Waits for the target and opens the copy for writing. Says whether the target was reached.
    async fn replay(
        &self,
        journal: &mut Journal,
        server: &mut Server,
        client: &Client,
        archive: &ArchiveEnd,
    ) -> Result<bool> {
        let target = &self.options().target;
        let started = Instant::now();
        let replayed = self.monitor.until_cancelled(server.wait_until_replayed(client));
        let (reached, _) = self.phase(journal, "replay", replayed).await?;
        journal.reached(&reached);
        journal.measurements.compare(&reached, &measure::wanted(self.options().wanted, target, archive));
        if let Err(detail) =
            measure::judge(target, &reached, archive).map(|detail| journal.passed("replay", detail))
        {
            let complaint = server.complaint().map(|words| format!("; {words}")).unwrap_or_default();
            journal.failed("replay", detail + &complaint);
            return Ok(false);
        }
        let promoted = self.monitor.until_cancelled(server.promote(client));
        let (version, _) = self.phase(journal, "promote", promoted).await?;
        journal.measurements.replay = Some(started.elapsed());
        journal.note("server_version", version);
        journal.passed("promote", "the server takes writes");
        Ok(true)
    }

    async fn checks(&self, journal: &mut Journal, server: &Server) -> Result<()> {
        self.monitor.phase(Phase::Check, 0);
        let started = Instant::now();
        if self.options().amcheck == Requirement::Required {
            let amcheck = self.monitor.until_cancelled(referees::amcheck(&self.launcher));
            let (check, _) = self.phase(journal, "pg_amcheck", amcheck).await?;
            journal.checks.push(check);
        }
        for assertion in &self.options().assertions {
            let asked =
                self.monitor.until_cancelled(async { Ok(referees::assertion(server, assertion).await) });
            let (check, _) = self.phase(journal, "assertions", asked).await?;
            journal.checks.push(check);
        }
        journal.measurements.checks = Some(started.elapsed());
        Ok(())
    }

    /// Times a phase, and notes its error in the journal.
    async fn phase<T>(
        &self,
        journal: &mut Journal,
        name: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<(T, Duration)> {
        let started = Instant::now();
        journal.phase = name;
        match work.instrument(tracing::info_span!("rehearse", phase = name)).await {
            Ok(value) => Ok((value, started.elapsed())),
            Err(error) => {
                if error.kind() != ErrorKind::Cancelled {
                    journal.error(name, &error);
                }
                Err(error)
            }
        }
    }

    fn options(&self) -> &RehearseOptions {
        self.launcher.options
    }
}

/// Chooses the backup as a restore to the same target does.
pub(super) async fn choose(repository: &Repository, options: &RehearseOptions) -> Result<Backup> {
    let chosen = restore::choose(repository, &restore_options(options)).await?;
    match &chosen.backup.source {
        BackupSource::Postgres(_) => Ok(chosen.backup),
        BackupSource::Tree(tree) => {
            let message =
                format!("a backup of the tree {:?} cannot be rehearsed: it starts no server", tree.name);
            Err(Error::new(ErrorKind::Configuration, message))
        }
    }
}

fn restore_options(options: &RehearseOptions) -> RestoreOptions {
    let timeline = match options.target {
        // Consistency is reached on the backup's own timeline, wherever the archive goes on.
        RecoveryTarget::Immediate => TargetTimeline::Current,
        _ => TargetTimeline::Latest,
    };
    RestoreOptions {
        backup: options.backup.clone(),
        system_identifier: options.system_identifier,
        target: options.target.clone(),
        timeline,
        action: TargetAction::Pause,
        restore_command_with_tail: options.restore_command_with_tail.clone(),
        ..RestoreOptions::default()
    }
}
