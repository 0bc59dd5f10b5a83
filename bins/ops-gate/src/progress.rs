//! What people see while a run is under way: on a terminal a live view of what runs, elsewhere a line now and then.
//!
//! Each gate as it ends comes from the library's log. The view is drawn below it and taken away before the answer. A
//! platform that ends jobs without output gets its sign of life every half a minute. `SIGUSR1` asks at any time.
#![expect(clippy::print_stderr, reason = "the view is drawn on stderr; this is its one printing module")]

use ops_gates::{Event, EventKind, Observer, Plan};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// How often a line tells what is running, where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often the view is drawn.
const FRAME: Duration = Duration::from_millis(200);
/// How many running gates the view shows.
const SHOWN: usize = 8;
/// How wide the bar is.
const BAR: usize = 24;

/// What is known of a run under way.
struct Seen {
    gates: usize,
    ended: usize,
    not_passed: usize,
    /// When each running gate started.
    running: BTreeMap<String, Instant>,
    /// How long each gate may take.
    limits: BTreeMap<String, Duration>,
    began: Instant,
}

/// Tells what is running until it is dropped.
pub(crate) struct Progress {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    live: bool,
}

impl Progress {
    /// Starts to tell about a run of a plan.
    pub(crate) fn start(plan: &Plan) -> Self {
        let limits = plan.gates().iter().map(|gate| (gate.id.clone(), gate.timeout.get())).collect();
        let seen = Seen {
            gates: plan.gates().len(),
            ended: 0,
            not_passed: 0,
            running: BTreeMap::new(),
            limits,
            began: Instant::now(),
        };
        let seen = Arc::new(Mutex::new(seen));
        let live = std::io::stderr().is_terminal();
        let colour = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let told = Arc::clone(&seen);
        let task = tokio::spawn(tell(told, live, colour).in_current_span());
        Self { seen, task, live }
    }

    /// Follows the gates of a run.
    pub(crate) fn observer(&self) -> Observer {
        let (seen, live) = (Arc::clone(&self.seen), self.live);
        Arc::new(move |event: &Event| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match &event.kind {
                EventKind::GateStarted { gate } => drop(seen.running.insert(gate.clone(), Instant::now())),
                EventKind::GateEnded { gate, outcome, .. } => {
                    seen.running.remove(gate);
                    seen.ended += 1;
                    seen.not_passed += usize::from(!outcome.is_pass());
                }
                EventKind::RunEnded { .. } if live => clear(),
                _ => {}
            }
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if self.live {
            clear();
        }
    }
}

async fn tell(seen: Arc<Mutex<Seen>>, live: bool, colour: bool) {
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut asked = signal(SignalKind::user_defined1()).ok();
    let every = if live { FRAME } else { HEARTBEAT };
    loop {
        let was_asked = tokio::select! {
            () = tokio::time::sleep(every) => false,
            Some(()) = async { match &mut asked { Some(asked) => asked.recv().await, None => None } } => true,
        };
        if was_asked || !live {
            let line = line(&lock());
            if was_asked || !lock().running.is_empty() {
                tracing::info!("{line}");
            }
        } else {
            eprint!("{}", view(&lock(), width(), colour));
        }
    }
}

/// Takes the view away. It was drawn below the place of the cursor, which stands at its beginning.
fn clear() {
    eprint!("\r\x1b[J");
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|columns| *columns >= 20).unwrap_or(80)
}

/// One line: how far the run is, and what is running.
fn line(seen: &Seen) -> String {
    let names: Vec<String> = running(seen).iter().map(|(gate, time)| format!("{gate} ({time})")).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    format!("{} of {} gates ended, {} not passed; running: {names}", seen.ended, seen.gates, seen.not_passed)
}

/// The view: a bar, and the gates that have run longest. The cursor goes back to where it was.
fn view(seen: &Seen, width: usize, colour: bool) -> String {
    let share = seen.ended * BAR / seen.gates.max(1);
    let (red, plain) = if colour && seen.not_passed > 0 { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let bar = format!("{}{}", "=".repeat(share), " ".repeat(BAR - share));
    let head = format!(
        "[{bar}] {}/{} {red}{} not passed{plain} {} s",
        seen.ended,
        seen.gates,
        seen.not_passed,
        seen.began.elapsed().as_secs()
    );
    let mut lines = vec![head];
    let running = running(seen);
    for (gate, time) in running.iter().take(SHOWN) {
        let text: String = format!("  {gate}  {time}").chars().take(width - 1).collect();
        lines.push(text);
    }
    if running.len() > SHOWN {
        lines.push(format!("  and {} more", running.len() - SHOWN));
    }
    let mut text = String::from("\r\x1b[J");
    // The first line stays free for the next line of the log.
    for line in &lines {
        let _ = write!(text, "\n{line}");
    }
    let _ = write!(text, "\r\x1b[{}A", lines.len());
    text
}

/// Each running gate with its time and its limit, the longest first.
fn running(seen: &Seen) -> Vec<(String, String)> {
    let mut gates: Vec<_> = seen.running.iter().map(|(gate, since)| (since.elapsed(), gate)).collect();
    gates.sort_by(|a, b| b.cmp(a));
    gates
        .into_iter()
        .map(|(time, gate)| {
            let limit =
                seen.limits.get(gate).map_or(String::new(), |limit| format!("/{} s", limit.as_secs()));
            (gate.clone(), format!("{} s{limit}", time.as_secs()).replace(" s/", "/"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(running: usize) -> Seen {
        let running: BTreeMap<String, Instant> =
            (0..running).map(|number| (format!("g{number}"), Instant::now())).collect();
        let limits = running.keys().map(|gate| (gate.clone(), Duration::from_secs(60))).collect();
        Seen { gates: 40, ended: 20, not_passed: 1, running, limits, began: Instant::now() }
    }

    #[test]
    fn the_view_shows_eight_and_gives_the_cursor_back() {
        let text = view(&seen(11), 40, false);
        assert!(text.contains("[============            ] 20/40 1 not passed 0 s"), "{text:?}");
        assert_eq!((text.matches('\n').count(), text.matches("0/60 s").count()), (10, 8), "{text:?}");
        assert!(text.contains("  and 3 more") && text.ends_with("\r\x1b[10A"), "{text:?}");
        assert!(
            !text.contains("\x1b[31m") && view(&seen(1), 40, true).contains("\x1b[31m1 not passed\x1b[0m")
        );
    }

    #[test]
    fn a_line_tells_what_runs() {
        assert_eq!(line(&seen(1)), "20 of 40 gates ended, 1 not passed; running: g0 (0/60 s)");
        assert_eq!(line(&seen(0)), "20 of 40 gates ended, 1 not passed; running: nothing");
    }
}
