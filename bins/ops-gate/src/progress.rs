//! What people see while a run is under way: each gate as it ends comes from the library's log; this adds what is still
//! running, every few seconds.

use ops_gates::{Event, EventKind, Observer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

const EVERY: Duration = Duration::from_secs(10);

type Running = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Tells what is running until it is dropped.
pub(crate) struct Progress {
    running: Running,
    task: JoinHandle<()>,
}

impl Progress {
    /// Starts to tell.
    pub(crate) fn start() -> Self {
        let running = Running::default();
        let seen = Arc::clone(&running);
        let tell = async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let names = names(&seen);
                if !names.is_empty() {
                    tracing::info!("still running: {names}");
                }
            }
        };
        Self { running, task: tokio::spawn(tell.in_current_span()) }
    }

    /// Follows the gates of a run.
    pub(crate) fn observer(&self) -> Observer {
        let running = Arc::clone(&self.running);
        Arc::new(move |event: &Event| {
            let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
            match &event.kind {
                EventKind::GateStarted { gate } => drop(running.insert(gate.clone(), Instant::now())),
                EventKind::GateEnded { gate, .. } => drop(running.remove(gate)),
                _ => {}
            }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn names(running: &Running) -> String {
    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let names = running.iter().map(|(gate, since)| format!("{gate} ({} s)", since.elapsed().as_secs()));
    names.collect::<Vec<_>>().join(", ")
}
