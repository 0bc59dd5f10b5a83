use ops_telemetry::*;
use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
struct Null;
impl LineWriter for Null {
    fn write_line(&self, l: &[u8]) -> std::io::Result<()> {
        black_box(l);
        Ok(())
    }
    fn accepts_batches(&self) -> bool {
        true
    }
}
fn time(name: &str, mut f: impl FnMut()) {
    for _ in 0..20000 {
        f()
    }
    let mut best = f64::MAX;
    for _ in 0..12 {
        let t = Instant::now();
        for _ in 0..50000 {
            f()
        }
        best = best.min(t.elapsed().as_nanos() as f64 / 50000.0);
    }
    println!("{name:30} {best:.1} ns");
}
fn main() {
    if std::env::args().nth(1).as_deref() == Some("loop") {
        let _t = init(Options {
            writer: Arc::new(Null),
            ring: None,
            format: LogFormat::Json,
            ..Default::default()
        })
        .unwrap();
        let _s = tracing::info_span!("request", request.id = 42, route = "/orders/{id}").entered();
        let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
        let span = std::env::args().nth(3).is_some();
        for _ in 0..n {
            if span {
                let _s = tracing::info_span!("child", a = 1, b = "x").entered();
            } else {
                tracing::info!(user = "ann", items = 3u64, ok = true, price = 12i64, "order placed")
            }
        }
        return;
    }
    let _ = System;
    let ring = std::env::args().nth(1).is_some_and(|a| a == "ring");
    let o = Options {
        writer: Arc::new(Null),
        ring: ring.then(Default::default),
        format: LogFormat::Json,
        sampling: Sampling {
            ratio: if std::env::args().nth(2).is_some() { 0.0 } else { 1.0 },
            lines: UnsampledLines::Warnings,
            follow_parent: true,
        },
        ..Default::default()
    };
    let _t = init(o).unwrap();
    time("disabled", || tracing::debug!(a = 1, "x"));
    {
        let _s = tracing::info_span!("request", request.id = 42, route = "/orders/{id}").entered();
        time("event 4 fields in span", || {
            tracing::info!(user = "ann", items = 3u64, ok = true, price = 12i64, "order placed")
        });
        time(
            "event 4 fields fmt",
            || tracing::info!(user = "ann", items = 3u64, ok = true, price = %12, "order {}", 7),
        );
        time("warn", || tracing::warn!(user = "ann", items = 3u64, ok = true, price = 12i64, "order placed"));
        time("child span, 2 fields", || {
            let _s = tracing::info_span!("child", a = 1, b = "x").entered();
        });
    }
    time("event no span", || {
        tracing::info!(user = "ann", items = 3u64, ok = true, price = 12i64, "order placed")
    });
    time("root span new+enter+close", || {
        let _s = tracing::info_span!("root").entered();
    });
    time("root span 2 fields", || {
        let _s = tracing::info_span!("root", a = 1, b = "x").entered();
    });
    let s = tracing::info_span!("s");
    time("enter/exit", || {
        let _e = s.enter();
    });
    time("TraceId", || {
        black_box(TraceId::random());
    });
    time("SpanId", || {
        black_box(SpanId::random());
    });
}
