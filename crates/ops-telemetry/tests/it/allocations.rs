//! What an event and a span take from the allocator. Counts are exact, so this is no matter of the machine.

use std::io;
use std::sync::Arc;

use ops_telemetry::{LineWriter, LogFormat, Options, Redactor, Sampling, UnsampledLines, testing};
use tracing::{info, info_span};

/// Takes every line and keeps none.
struct Nowhere;

impl LineWriter for Nowhere {
    fn write_line(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn accepts_batches(&self) -> bool {
        true
    }
}

struct NothingIsSecret;

impl Redactor for NothingIsSecret {
    fn redact(&self, _: &mut Vec<u8>) {}
}

fn allocations(options: Options, warm_up: usize, mut body: impl FnMut()) -> u64 {
    let options = Options { writer: Arc::new(Nowhere), format: LogFormat::Json, ..options };
    let (dispatch, _telemetry) = testing::scoped(options).expect("valid options");
    tracing::dispatcher::with_default(&dispatch, || {
        let _span = info_span!("request", request.id = 7, route = "/orders").entered();
        (0..warm_up).for_each(|_| body());
        allocation_counter::measure(|| (0..100).for_each(|_| body())).count_total
    })
}

fn event() {
    info!(user = "ann", items = 3_u64, ok = true, price = %12, late = f64::NAN, "order {} placed", 7);
}

#[test]
fn an_event_takes_nothing() {
    let direct = Options { ring: None, ..Options::default() };
    assert_eq!(allocations(direct.clone(), 10, event), 0);
    let redacted = Options { redactor: Some(Arc::new(NothingIsSecret)), ..direct };
    assert_eq!(allocations(redacted, 10, event), 0, "the redactor works on memory that is kept");
}

#[test]
fn an_event_through_the_ring_takes_nothing_but_new_pieces() {
    // The queue grows while the thread is behind, by whole pieces of 64 KiB.
    let taken = allocations(Options::default(), 2000, event);
    assert!(taken <= 16, "{taken} for 100 events");
}

#[test]
fn a_span_takes_one() {
    let direct = Options { ring: None, ..Options::default() };
    let span = || drop(info_span!("query", rows = 3, table = "orders").entered());
    assert_eq!(
        allocations(direct.clone(), 10, span),
        100,
        "its state; its fields live in memory that is kept"
    );
    let sampling = Sampling { ratio: 0.0, lines: UnsampledLines::Warnings, ..Sampling::default() };
    assert_eq!(allocations(Options { sampling, ..direct }, 10, span), 100);
}
