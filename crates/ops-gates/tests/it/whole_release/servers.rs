//! The servers of stage: real ones, each with a log-in and TLS where the plan asks for them.

use super::kafka::Kafka;
use super::{closed_port, series};
use crate::rabbit::Rabbit;
use crate::server::{Authority, Server, find};
use ops_testkit::{Postgres, Redis, S3, TestUser};
use std::path::Path;
use std::process::Command;

/// What runs on this machine for the shop.
pub(crate) struct Servers {
    pub(crate) postgres: Postgres,
    pub(crate) cache: Redis,
    pub(crate) cache_tls: u16,
    /// As large as the other, and without a password: what measures takes one only as an argument.
    pub(crate) bench: Redis,
    pub(crate) s3: S3,
    pub(crate) prometheus: Server,
    pub(crate) alertmanager: Server,
    pub(crate) kafka: Kafka,
    pub(crate) queue: Option<Rabbit>,
    pub(crate) public: Server,
}

impl Servers {
    /// Starts all of them; the first that is not installed is told.
    pub(crate) fn start(
        home: &Path,
        authority: &Authority,
        stand_ins: &str,
        archive: &str,
    ) -> Result<Self, String> {
        let missing = |name: &str| format!("{name} is not installed");
        let prometheus =
            find("prometheus").filter(|_| find("promtool").is_some()).ok_or_else(|| missing("prometheus"))?;
        let alerting = find("prometheus-alertmanager").ok_or_else(|| missing("prometheus-alertmanager"))?;
        let broker = Kafka::program().ok_or_else(|| missing("tansu"))?;
        let moto = ops_testkit::tools_dir().join("moto/boto3");
        if !moto.is_dir() {
            return Err(missing("boto3, which comes with moto,"));
        }
        let text = |error: ops_testkit::Error| error.to_string();
        std::thread::scope(|scope| {
            let postgres = scope.spawn(|| postgres(authority, archive));
            let s3 = scope.spawn(|| {
                let s3 = S3::start().map_err(text)?;
                let kafka = Kafka::start(&broker, authority);
                Ok::<_, String>((s3, kafka))
            });
            let queue = scope.spawn(|| Rabbit::start(Some(authority)));
            let metrics = scope.spawn(|| {
                let alertmanager = alertmanager(&alerting, home);
                (prometheus_with_a_past(&prometheus, home, stand_ins, alertmanager.port), alertmanager)
            });
            let cache_tls = closed_port();
            let cache = cache(authority, cache_tls).map_err(text)?;
            let bench = Redis::start().map_err(text)?;
            bench.command(&["CONFIG", "SET", "requirepass", ""]).map_err(text)?;
            let public = public(authority);
            let (s3, kafka) = s3.join().expect("a broker starts")?;
            let (prometheus, alertmanager) = metrics.join().expect("Prometheus starts");
            Ok(Self {
                postgres: postgres.join().expect("no panic").map_err(text)?,
                cache,
                cache_tls,
                bench,
                s3,
                prometheus,
                alertmanager,
                kafka,
                queue: queue.join().expect("RabbitMQ starts"),
                public,
            })
        })
    }
}

/// A primary with TLS that archives its WAL, a database whose service cannot destroy anything, and one to measure on.
fn postgres(authority: &Authority, archive: &str) -> Result<Postgres, ops_testkit::Error> {
    let user = TestUser::find()?;
    let key = authority.folder().join("postgres.key");
    std::fs::copy(authority.path("key.pem"), &key).expect("a key");
    mode(&key, 0o600);
    user.own(&key)?;
    let server = Postgres::builder()
        .setting("ssl", "on")
        .setting("ssl_cert_file", authority.path("chain.pem"))
        .setting("ssl_key_file", key.display().to_string())
        .archive_command(archive)
        .fresh_identity(true)
        .start()?;
    for statement in [
        "CREATE ROLE shop LOGIN PASSWORD 'shop-passw0rd-of-the-test'",
        "CREATE ROLE bench LOGIN PASSWORD 'bench-passw0rd-of-the-test'",
        "CREATE DATABASE shop",
        "CREATE DATABASE bench OWNER bench",
    ] {
        server.psql(statement)?;
    }
    in_shop(
        &server,
        "CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO orders VALUES (1); \
         CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, success boolean NOT NULL); \
         INSERT INTO _sqlx_migrations VALUES (41, true), (42, true); \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop; GRANT pg_monitor TO shop",
    );
    Ok(server)
}

/// Runs statements in the shop's database as its owner.
pub(crate) fn in_shop(server: &Postgres, statements: &str) -> String {
    let mut psql = server.command("psql");
    super::succeed(psql.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        "shop",
        "-c",
        statements,
    ]))
}

fn cache(authority: &Authority, tls: u16) -> Result<Redis, ops_testkit::Error> {
    Redis::builder()
        .setting("tls-port", tls.to_string())
        .setting("tls-cert-file", authority.path("chain.pem"))
        .setting("tls-key-file", authority.path("key.pem"))
        .setting("tls-ca-cert-file", authority.path("ca.pem"))
        .setting("tls-auth-clients", "no")
        .setting("maxmemory", "1gb")
        .start()
}

fn alertmanager(program: &Path, home: &Path) -> Server {
    let config = "route: { receiver: slack }\nreceivers: [{ name: slack }, { name: email }]\n";
    std::fs::write(home.join("alertmanager.yml"), config).expect("a file");
    Server::start(|port| {
        let mut command = Command::new(program);
        command.args(["--config.file=alertmanager.yml", "--storage.path=am", "--cluster.listen-address="]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(home);
        command
    })
}

fn prometheus_with_a_past(program: &Path, home: &Path, stand_ins: &str, alertmanager: u16) -> Server {
    std::fs::write(home.join("past.txt"), series::past()).expect("a file");
    std::fs::write(home.join("rules.yml"), series::RULES).expect("a file");
    std::fs::write(home.join("prometheus.yml"), series::configuration(stand_ins, alertmanager))
        .expect("a file");
    let mut promtool = Command::new("promtool");
    promtool.args([
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--max-block-duration=1458h",
        "past.txt",
        "metrics",
    ]);
    super::succeed(promtool.current_dir(home));
    Server::start(|port| {
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=metrics"]);
        command.args(["--storage.tsdb.retention.time=120d", "--rules.alert.resend-delay=1s"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(home);
        command
    })
}

/// What the public reaches: TLS, with the whole chain.
fn public(authority: &Authority) -> Server {
    Server::start(|port| {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", "cert.pem", "-key", "key.pem", "-cert_chain", "chain.pem"]);
        command.current_dir(authority.folder());
        command
    })
}

pub(crate) fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}
