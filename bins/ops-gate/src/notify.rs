//! Telling people about a run that changed the state of its plan, as the settings say.

use crate::settings::{ChannelSettings, NotifySettings};
use ops_gates::RunRecord;
use ops_gates::history::{History, PastRun};
use ops_gates::notify::{Channel, Situation, blocked_since, notify};
use std::path::PathBuf;

/// Tells whom the rules name. What is not delivered is told, and changes no verdict.
pub(crate) async fn tell(settings: &NotifySettings, runs: PathBuf, record: &RunRecord) {
    if settings.rules.is_empty() {
        return;
    }
    let history = match History::read(&[runs]) {
        Ok(history) => history,
        Err(error) => {
            // Without a history every blocked run is a change: told once too often rather than never.
            tracing::warn!("no history to compare with: {error}");
            History::default()
        }
    };
    let earlier: Vec<&PastRun> = history
        .of_plan(&record.plan.name)
        .filter(|run| run.record.run_id != record.run_id && run.has_ended())
        .filter(|run| run.record.started_at <= record.started_at)
        .collect();
    let situation = Situation {
        now: record,
        before: earlier.last().map(|run| &run.record),
        blocked_since: blocked_since(&earlier, record),
    };
    let channels: Vec<Channel> = settings.channels.iter().map(ChannelSettings::channel).collect();
    for failed in notify(&channels, &settings.rules, situation).await {
        tracing::warn!(channel = failed.channel, "{failed}");
    }
}
