//! The life of a service on tokio: telemetry, runtime, signals, panics, the flush at the end, and the exit code.

use std::error::Error as StdError;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::init::{Telemetry, init};
use crate::options::Options;

/// The exit code of a panic: a bug of the program.
const PANICKED: u8 = 70;
/// The exit code where telemetry or the runtime cannot be set up.
const MISCONFIGURED: u8 = 78;
/// What SIGUSR1 asks for, and for how long.
const VERBOSE: (&str, Duration) = ("debug", Duration::from_secs(600));

/// How a service is run; [`run`] is this with the defaults.
#[derive(Clone, Debug)]
pub struct Service {
    /// The settings of its telemetry.
    pub options: Options,
    /// How long it may go on after SIGTERM or SIGINT, if it waits for [`Running::stopped`]. Kubernetes kills after 30
    /// seconds unless told otherwise.
    pub grace: Duration,
    /// How long the last lines and spans may take.
    pub flush: Duration,
}

/// What the work of a service can ask while it runs.
#[derive(Clone, Debug)]
pub struct Running {
    telemetry: Telemetry,
    stop: watch::Receiver<bool>,
    is_awaited: Arc<AtomicBool>,
}

/// What the work of a service may return, and what it means for the exit code: nothing is 0, an error is one ERROR line
/// and 1, an exit code is itself.
pub trait Outcome {
    /// Returns the exit code, or the error.
    ///
    /// # Errors
    /// The error of the work.
    fn exit(self) -> Result<ExitCode, Box<dyn StdError>>;
}

impl Outcome for () {
    fn exit(self) -> Result<ExitCode, Box<dyn StdError>> {
        Ok(ExitCode::SUCCESS)
    }
}

impl Outcome for ExitCode {
    fn exit(self) -> Result<ExitCode, Box<dyn StdError>> {
        Ok(self)
    }
}

impl<T: Outcome, E: Into<Box<dyn StdError>>> Outcome for Result<T, E> {
    fn exit(self) -> Result<ExitCode, Box<dyn StdError>> {
        self.map_err(Into::into)?.exit()
    }
}

impl Running {
    /// Returns the telemetry of this process.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Waits for SIGTERM or SIGINT. Whoever has called this gets [`Service::grace`] to end in order; where nobody has, the
    /// work is dropped at the signal.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.is_awaited.store(true, Ordering::Relaxed);
        let mut stop = self.stop.clone();
        async move {
            // The sender outlives the work.
            let _ = stop.wait_for(|is_stopped| *is_stopped).await;
        }
    }
}

/// Runs a service from start to exit code: installs telemetry with what the environment says, runs `work` on a tokio
/// runtime, and writes everything that was logged before it returns.
///
/// | what happens | exit code |
/// |---|---|
/// | the work ends | as [`Outcome`] says |
/// | SIGTERM or SIGINT, and the work ends by itself within [`Service::grace`] | as [`Outcome`] says |
/// | SIGTERM, SIGINT, and it does not | 143, 130 |
/// | the work panics | 70 |
/// | telemetry or the runtime cannot be set up | 78 |
///
/// SIGHUP opens log files again; SIGUSR1 logs at `debug` for ten minutes.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     ops_telemetry::run("orders", env!("CARGO_PKG_VERSION"), async |running| {
///         tracing::info!("ready");
///         running.stopped().await;
///     })
/// }
/// ```
pub fn run<T: Outcome>(service: &str, version: &str, work: impl AsyncFnOnce(Running) -> T) -> ExitCode {
    Service::new(service, version).run(work)
}

impl Service {
    /// Returns the defaults for a service of this name: [`Options::for_service`], 25 seconds of grace, 3 for the flush.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            options: Options::for_service(name, version),
            grace: Duration::from_secs(25),
            flush: Duration::from_secs(3),
        }
    }

    /// Does what [`run`] does.
    #[expect(clippy::print_stderr, reason = "without telemetry there is no other place for the reason")]
    pub fn run<T: Outcome>(self, work: impl AsyncFnOnce(Running) -> T) -> ExitCode {
        let telemetry = match init(self.options) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(MISCONFIGURED);
            }
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the runtime cannot be started");
                let _ = telemetry.shutdown(self.flush);
                return ExitCode::from(MISCONFIGURED);
            }
        };
        let supervised = || runtime.block_on(supervise(telemetry.clone(), self.grace, work));
        let code = match catch_unwind(AssertUnwindSafe(supervised)) {
            // The hook has written its line.
            Err(_) => ExitCode::from(PANICKED),
            Ok(Err(error)) => {
                tracing::error!(error = error.as_ref(), "the service failed");
                ExitCode::FAILURE
            }
            Ok(Ok(code)) => code,
        };
        // Tasks that do not stop must not take the time of the flush.
        runtime.shutdown_background();
        let _ = telemetry.shutdown(self.flush);
        code
    }
}

/// The signals that a service listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
    verbose: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reopen: signal(SignalKind::hangup())?,
            verbose: signal(SignalKind::user_defined1())?,
        })
    }
}

async fn supervise<T: Outcome>(
    telemetry: Telemetry,
    grace: Duration,
    work: impl AsyncFnOnce(Running) -> T,
) -> Result<ExitCode, Box<dyn StdError>> {
    let mut signals = Signals::listen()?;
    let (sender, stop) = watch::channel(false);
    let is_awaited = Arc::new(AtomicBool::new(false));
    let running = Running { telemetry: telemetry.clone(), stop, is_awaited: Arc::clone(&is_awaited) };
    let mut work = std::pin::pin!(work(running));
    let mut end: Option<(Instant, u8)> = None;
    loop {
        let until = end.map_or_else(Instant::now, |(until, _)| until);
        let (name, code) = tokio::select! {
            outcome = &mut work => return outcome.exit(),
            _ = signals.terminate.recv() => ("SIGTERM", 143),
            _ = signals.interrupt.recv() => ("SIGINT", 130),
            _ = signals.reopen.recv() => {
                if let Err(error) = telemetry.reopen() {
                    tracing::error!(%error, "log files cannot be opened again");
                }
                continue;
            }
            _ = signals.verbose.recv() => {
                let (filter, ttl) = VERBOSE;
                let _ = telemetry.set_level(filter, Some(ttl));
                tracing::info!(filter, seconds = ttl.as_secs(), "the level is changed for a while");
                continue;
            }
            () = sleep_until(until), if end.is_some() => {
                tracing::warn!("the work has not stopped in time");
                return Ok(ExitCode::from(end.map_or(PANICKED, |(_, code)| code)));
            }
        };
        tracing::info!(signal = name, "stopping");
        // Somebody who asks twice means it.
        if end.is_some() || !is_awaited.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(code));
        }
        end = Some((Instant::now() + grace, code));
        let _ = sender.send(true);
    }
}
