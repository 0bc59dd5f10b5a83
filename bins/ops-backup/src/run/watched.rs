//! What operators see of a command that stays: its numbers and whether it is ready, on a listener of their own.

use ops_cli::{Exit, Failure};
use ops_telemetry::admin::{Admin, Listen, Listener};
use ops_telemetry::metrics::{Desc, Registry, Samples, Unit};
use std::net::SocketAddr;

/// A number of a status: its name, what it means, its unit, and where it is. One that is not known has no sample.
pub(super) type Number<S> = (&'static str, &'static str, Unit, fn(&S) -> Option<f64>);

/// Registers numbers that `look` reads from the status of the moment.
pub(super) fn registry<S: 'static>(
    counters: &[Number<S>],
    gauges: &[Number<S>],
    look: impl Fn(fn(&S) -> Option<f64>) -> Option<f64> + Clone + Send + Sync + 'static,
) -> Result<Registry, ops_telemetry::Error> {
    let reader = |read: fn(&S) -> Option<f64>| {
        let look = look.clone();
        move |samples: &mut Samples<'_>| {
            if let Some(value) = look(read) {
                samples.add(&[], value);
            }
        }
    };
    let registry = Registry::new();
    for &(name, help, unit, read) in counters {
        registry.observe_counter(Desc::new(name, help).unit(unit), &[], reader(read))?;
    }
    for &(name, help, unit, read) in gauges {
        registry.observe_gauge(Desc::new(name, help).unit(unit), &[], reader(read))?;
    }
    Ok(registry)
}

/// Answers at `addr`; ready as long as `check` passes.
pub(super) fn listen(
    addr: SocketAddr,
    registry: Result<Registry, ops_telemetry::Error>,
    name: &str,
    check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
) -> Result<Listener, Failure> {
    let registry = registry.map_err(|error| Failure::from_error(Exit::Bug, &error))?;
    let admin = Admin::new(&registry);
    admin.check_with(name, check);
    let listener = Listener::start(&admin, Listen { addr, ..Listen::default() });
    listener.map_err(|error| Failure::from_error(Exit::CannotCreate, &error))
}

#[expect(clippy::cast_precision_loss, clippy::unnecessary_wraps, reason = "exact up to 2^53; as the others")]
pub(super) fn count(value: u64) -> Option<f64> {
    Some(value as f64)
}
