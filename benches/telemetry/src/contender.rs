//! Who is compared, each installed for the whole process.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use ops_secrets::Masker;
use ops_telemetry::{
    LineWriter, LogFormat, Options, Otlp, Redactor, Roots, Sampling, Telemetry, UnsampledLines,
};

use crate::peers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Ours,
    OursRing,
    OursSecrets,
    OursUnsampled,
    OursOtlp,
    FmtJson,
    JsonSubscriber,
    JsonSubscriberIds,
    OpenTelemetry,
    OpenTelemetryOff,
    Fastrace,
    Appender,
}

/// What a contender keeps until the end of its process.
pub(crate) enum Installed {
    Ours(Telemetry),
    Appender(peers::Appender),
    Nothing,
}

impl Contender {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ours,
        Self::OursRing,
        Self::OursSecrets,
        Self::OursUnsampled,
        Self::OursOtlp,
        Self::FmtJson,
        Self::JsonSubscriber,
        Self::JsonSubscriberIds,
        Self::OpenTelemetry,
        Self::OpenTelemetryOff,
        Self::Fastrace,
        Self::Appender,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ops-telemetry",
            Self::OursRing => "ops-telemetry, through the ring",
            Self::OursSecrets => "ops-telemetry, 20 secrets",
            Self::OursUnsampled => "ops-telemetry, sampled out",
            Self::OursOtlp => "ops-telemetry, with a collector",
            Self::FmtJson => "fmt().json()",
            Self::JsonSubscriber => "json-subscriber, no ids",
            Self::JsonSubscriberIds => "json-subscriber + tracing-opentelemetry",
            Self::OpenTelemetry => "fmt().json() + tracing-opentelemetry + logs",
            Self::OpenTelemetryOff => "tracing-opentelemetry, sampled out",
            Self::Fastrace => "fastrace + logforth",
            Self::Appender => "fmt().json() + tracing-appender",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Installs it; every line goes nowhere, or for the throughput to `/dev/null`, which is a file for all of them.
    pub(crate) fn install(self, to_file: bool) -> Result<Installed> {
        match self {
            Self::Ours if to_file => ours(Options { writer: null()?, ..Options::default() }),
            Self::Ours => ours(direct()),
            Self::OursRing => ours(Options { writer: Arc::new(Nowhere), ..Options::default() }),
            Self::OursSecrets => ours(Options { redactor: Some(Arc::new(twenty_secrets())), ..direct() }),
            Self::OursUnsampled => {
                let sampling =
                    Sampling { ratio: 0.0, lines: UnsampledLines::Warnings, ..Sampling::default() };
                ours(Options { sampling, ..direct() })
            }
            Self::OursOtlp => ours(Options { otlp: Some(Otlp::to(&collector()?)), ..direct() }),
            Self::FmtJson if to_file => peers::fmt_json_to_file(),
            Self::FmtJson => peers::fmt_json(),
            Self::JsonSubscriber => peers::json_subscriber(),
            Self::JsonSubscriberIds => peers::json_subscriber_with_ids(),
            Self::OpenTelemetry => peers::opentelemetry(),
            Self::OpenTelemetryOff => peers::opentelemetry_off(),
            Self::Fastrace => peers::fastrace(),
            Self::Appender => peers::appender(),
        }
    }
}

fn ours(options: Options) -> Result<Installed> {
    let options = Options { format: LogFormat::Json, roots: Roots::Process, ..options };
    Ok(Installed::Ours(ops_telemetry::init(options)?))
}

/// Whoever logs writes the line itself, as the peers do.
fn direct() -> Options {
    Options { writer: Arc::new(Nowhere), ring: None, ..Options::default() }
}

fn null() -> Result<Arc<dyn LineWriter>> {
    Ok(Arc::new(Null(File::options().write(true).open("/dev/null")?)))
}

/// Writes to a file that is open already, and never does anything else with it.
struct Null(File);

impl LineWriter for Null {
    fn write_line(&self, lines: &[u8]) -> io::Result<()> {
        (&self.0).write_all(lines)
    }

    fn accepts_batches(&self) -> bool {
        true
    }
}

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

struct Masked(Masker);

impl Redactor for Masked {
    fn redact(&self, text: &mut Vec<u8>) {
        self.0.mask(text);
    }
}

/// The masker of ops-secrets, as the commands use it, with values that look like real ones.
fn twenty_secrets() -> Masked {
    let masker = Masker::new();
    let secrets: Vec<(String, String)> = (0..20_u64)
        .map(|n| {
            let drawn = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (format!("secret-{n}"), format!("{drawn:016x}{:08x}", drawn.rotate_left(17) as u32))
        })
        .collect();
    masker.register_all(secrets.iter().map(|(name, secret)| (name.as_str(), secret.as_str())));
    Masked(masker)
}

/// A stand-in that takes everything at once, so that the queue never fills.
fn collector() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut seen, mut piece) = (Vec::new(), vec![0; 1 << 20]);
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    seen.extend_from_slice(&piece[..len]);
                    while let Some(end) = request_end(&seen) {
                        seen.drain(..end);
                        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(url)
}

fn request_end(seen: &[u8]) -> Option<usize> {
    let head = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&seen[..head]).ok()?;
    let len: usize = text.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
    (seen.len() >= head + len).then_some(head + len)
}
