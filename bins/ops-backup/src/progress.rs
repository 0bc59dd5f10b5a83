//! How far a job is, on stderr: a bar on a terminal, a log line every few seconds elsewhere.
#![expect(clippy::print_stderr, reason = "the bar is drawn on stderr; this is its one printing module")]

use ops_backup::{Monitor, Progress};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const BAR: usize = 30;
const REDRAW: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Draws until it is dropped.
#[derive(Debug)]
pub(crate) struct Reporter {
    task: JoinHandle<()>,
    bar: bool,
}

impl Reporter {
    /// Watches a job from now on.
    pub(crate) fn watch(monitor: &Monitor) -> Self {
        let bar = std::io::stderr().is_terminal();
        let mut progress = monitor.subscribe();
        let task = tokio::spawn(async move {
            let mut last = Instant::now();
            while progress.changed().await.is_ok() {
                let now = *progress.borrow_and_update();
                if bar {
                    eprint!("\r\x1b[2K{}", drawn(now));
                    let _ = std::io::stderr().flush();
                    tokio::time::sleep(REDRAW).await;
                } else if last.elapsed() >= LINE_EVERY {
                    let (phase, total) = (now.phase, (now.bytes_total > 0).then_some(now.bytes_total));
                    tracing::info!(
                        ?phase,
                        bytes_done = total.map(|_| now.bytes_done),
                        bytes_total = total,
                        "working"
                    );
                    last = Instant::now();
                }
            }
        });
        Reporter { task, bar }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
        if self.bar {
            eprint!("\r\x1b[2K");
        }
    }
}

fn drawn(progress: Progress) -> String {
    let phase = format!("{:?}", progress.phase);
    if progress.bytes_total == 0 {
        return phase;
    }
    let share = (progress.bytes_done as f64 / progress.bytes_total as f64).min(1.0);
    let full = (share * BAR as f64) as usize;
    format!("{phase:12} [{}{}] {:3.0} %", "#".repeat(full), "-".repeat(BAR - full), share * 100.0)
}
