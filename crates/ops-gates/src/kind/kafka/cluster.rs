//! What a Kafka cluster is made of, and asking the broker that leads.

use super::wire::{
    API_VERSIONS, Api, Broker, FETCH, FIND_COORDINATOR, In, LIST_OFFSETS, METADATA, OFFSET_FETCH, Out,
    PRODUCE, SASL_AUTHENTICATE, SASL_HANDSHAKE, batch, error_name,
};
use super::{Kafka, Sasl};
use crate::gate::Context;
use crate::kind::net::Place;
use crate::kind::scram::{self, First, Hash};
use crate::outcome::{Fault, Finding};
use std::collections::BTreeMap;

/// How to reach brokers, and those that were reached.
pub(super) struct Cluster<'a> {
    kafka: &'a Kafka,
    context: &'a Context<'a>,
    bootstrap: Broker,
    pub(super) metadata: Metadata,
    leaders: BTreeMap<i32, Broker>,
}

#[derive(Default)]
pub(super) struct Metadata {
    pub(super) brokers: BTreeMap<i32, Place>,
    pub(super) topics: Vec<Topic>,
}

pub(super) struct Topic {
    pub(super) error: i16,
    pub(super) name: String,
    pub(super) partitions: Vec<Partition>,
}

pub(super) struct Partition {
    pub(super) error: i16,
    pub(super) id: i32,
    pub(super) leader: i32,
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
}

/// An error that the protocol names: whether it will go away by itself.
pub(super) fn refused(what: &str, code: i16) -> Finding {
    let reason = format!("{what}: {}", error_name(code));
    match code {
        5 | 6 | 7 | 14 | 15 | 16 => Finding::error(Fault::NotReady, "not-ready", reason),
        19 | 20 => Finding::fail("not-enough-replicas", reason),
        29..=31 | 33 | 58 => Finding::error(Fault::Tool, "refused", reason),
        _ => Finding::error(Fault::Tool, "kafka", reason),
    }
}

impl<'a> Cluster<'a> {
    /// Asks the first broker that answers for the topics.
    pub(super) async fn open(
        kafka: &'a Kafka,
        context: &'a Context<'a>,
        topics: &[&str],
    ) -> Result<Self, Finding> {
        let mut last = None;
        let mut bootstrap = None;
        for broker in &kafka.brokers {
            let place = Place::of(context, broker)?;
            match connect(kafka, context, &place).await {
                Ok(broker) => {
                    bootstrap = Some(broker);
                    break;
                }
                Err(finding) => last = Some(finding),
            }
        }
        let Some(mut bootstrap) = bootstrap else {
            let nobody = || Finding::error(Fault::Unresolved, "brokers", "no broker is named");
            return Err(last.unwrap_or_else(nobody));
        };
        // The last switch: topics that are not there must not be made by asking for them.
        let request = Out::new().list(topics, |out, topic| out.text(topic)).byte(0);
        let mut answer = bootstrap.ask(METADATA, &request).await?;
        let metadata = read_metadata(&mut answer).ok_or_else(|| bootstrap.strange())?;
        Ok(Self { kafka, context, bootstrap, metadata, leaders: BTreeMap::new() })
    }

    async fn ask_leader(&mut self, leader: i32, api: Api, request: &Out) -> Result<In, Finding> {
        if !self.leaders.contains_key(&leader) {
            let place = self.metadata.brokers.get(&leader).ok_or_else(|| {
                Finding::error(
                    Fault::NotReady,
                    "no-leader",
                    format!("the leader {leader} is not among the brokers"),
                )
            })?;
            let broker = connect(self.kafka, self.context, place).await?;
            self.leaders.insert(leader, broker);
        }
        let broker = self.leaders.get_mut(&leader).unwrap_or(&mut self.bootstrap);
        broker.ask(api, request).await
    }

    /// The offset behind the last record of a partition.
    pub(super) async fn end(&mut self, topic: &str, id: i32, leader: i32) -> Result<i64, Finding> {
        let request = Out::new()
            .int(-1)
            .list([topic], |out, topic| out.text(topic).list([id], |out, id| out.int(id).long(-1)));
        let mut answer = self.ask_leader(leader, LIST_OFFSETS, &request).await?;
        let read = answer.list(|it| {
            it.text()?;
            it.list(|it| Some((it.int()?, it.short()?, it.long()?, it.long()?)))
        });
        match read.into_iter().flatten().flatten().find(|(found, ..)| *found == id) {
            Some((_, 0, _, offset)) => Ok(offset),
            Some((_, code, ..)) => Err(refused(&format!("{topic}/{id}"), code)),
            None => Err(self.bootstrap.strange()),
        }
    }

    /// What a group has committed for the partitions of a topic; -1 where it has not.
    pub(super) async fn committed(
        &mut self,
        group: &str,
        topic: &str,
        ids: &[i32],
    ) -> Result<Vec<(i32, i64)>, Finding> {
        let mut answer = self.bootstrap.ask(FIND_COORDINATOR, &Out::new().text(group)).await?;
        let found = (|| Some((answer.short()?, answer.int()?, answer.text()?, answer.int()?)))();
        let (code, _, host, port) = found.ok_or_else(|| self.bootstrap.strange())?;
        if code != 0 {
            return Err(refused(&format!("the coordinator of group `{group}`"), code));
        }
        let port = u16::try_from(port).map_err(|_| self.bootstrap.strange())?;
        let mut coordinator = connect(self.kafka, self.context, &Place { host, port }).await?;
        let request = Out::new()
            .text(group)
            .list([topic], |out, topic| out.text(topic).list(ids, |out, id| out.int(*id)));
        let mut answer = coordinator.ask(OFFSET_FETCH, &request).await?;
        let read = answer.list(|it| {
            it.text()?;
            it.list(|it| {
                let (id, offset) = (it.int()?, it.long()?);
                it.text()?;
                Some((id, offset, it.short()?))
            })
        });
        let read = read.ok_or_else(|| coordinator.strange())?;
        let partitions: Vec<_> = read.into_iter().flatten().collect();
        if let Some((id, _, code)) = partitions.iter().find(|(.., code)| *code != 0) {
            return Err(refused(&format!("group `{group}` on {topic}/{id}"), *code));
        }
        Ok(partitions.into_iter().map(|(id, offset, _)| (id, offset)).collect())
    }

    /// Appends a record to a partition, acknowledged by all that are in sync; returns its offset.
    pub(super) async fn produce(
        &mut self,
        topic: &str,
        id: i32,
        leader: i32,
        value: &[u8],
    ) -> Result<i64, Finding> {
        let records = batch(value, jiff::Timestamp::now().as_millisecond());
        let request =
            Out::new().short(-1).short(-1).int(10_000).list([topic], |out, topic| {
                out.text(topic).list([id], |out, id| out.int(id).bytes(&records))
            });
        let mut answer = self.ask_leader(leader, PRODUCE, &request).await?;
        let read = answer.list(|it| {
            it.text()?;
            it.list(|it| Some((it.int()?, it.short()?, it.long()?, it.long()?)))
        });
        match read.into_iter().flatten().flatten().find(|(found, ..)| *found == id) {
            Some((_, 0, offset, _)) => Ok(offset),
            Some((_, code, ..)) => Err(refused(&format!("{topic}/{id}"), code)),
            None => Err(self.bootstrap.strange()),
        }
    }

    /// Records of a partition from an offset on, as they are stored.
    pub(super) async fn fetch(
        &mut self,
        topic: &str,
        id: i32,
        leader: i32,
        offset: i64,
    ) -> Result<Vec<u8>, Finding> {
        const MOST: i32 = 1024 * 1024;
        let request = Out::new().int(-1).int(500).int(1).int(MOST).byte(0).list([topic], |out, topic| {
            out.text(topic).list([id], |out, id| out.int(id).long(offset).int(MOST))
        });
        let mut answer = self.ask_leader(leader, FETCH, &request).await?;
        answer.int();
        let read = answer.list(|it| {
            it.text()?;
            it.list(|it| {
                let (id, code) = (it.int()?, it.short()?);
                it.long()?;
                it.long()?;
                it.list(|it| Some((it.long()?, it.long()?)))?;
                Some((id, code, it.content()?))
            })
        });
        match read.into_iter().flatten().flatten().find(|(found, ..)| *found == id) {
            Some((_, 0, records)) => Ok(records),
            Some((_, code, _)) => Err(refused(&format!("{topic}/{id}"), code)),
            None => Err(self.bootstrap.strange()),
        }
    }
}

async fn connect(kafka: &Kafka, context: &Context<'_>, place: &Place) -> Result<Broker, Finding> {
    let mut broker = Broker::connect(context, place, kafka.tls, kafka.ca_file.as_ref()).await?;
    let mut answer = broker.ask(API_VERSIONS, &Out::new()).await?;
    let code = answer.short().ok_or_else(|| broker.strange())?;
    if code != 0 {
        return Err(refused(broker.place(), code));
    }
    let apis = answer.list(|it| Some((it.short()?, it.short()?, it.short()?)));
    let apis = apis.ok_or_else(|| broker.strange())?;
    let speaks =
        |api: Api| apis.iter().any(|(key, from, to)| *key == api.0 && (*from..=*to).contains(&api.1));
    if !speaks(METADATA) {
        let reason = format!("{} is older than Kafka 0.11, or newer than we know", broker.place());
        return Err(Finding::error(Fault::Tool, "versions", reason));
    }
    log_in(kafka, context, &mut broker).await?;
    Ok(broker)
}

async fn log_in(kafka: &Kafka, context: &Context<'_>, broker: &mut Broker) -> Result<(), Finding> {
    let (Some(user), Some(password)) = (&kafka.user, &kafka.password) else { return Ok(()) };
    let (user, password) = (context.resolve(user)?, context.resolve(password)?);
    let mut answer = broker.ask(SASL_HANDSHAKE, &Out::new().text(kafka.sasl.word())).await?;
    match answer.short() {
        Some(0) => {}
        Some(code) => return Err(refused(broker.place(), code)),
        None => return Err(broker.strange()),
    }
    let hash = match kafka.sasl {
        Sasl::Plain => {
            let said = format!("\0{user}\0{password}");
            return authenticate(broker, said.as_bytes()).await.map(drop);
        }
        Sasl::ScramSha256 => Hash::Sha256,
        Sasl::ScramSha512 => Hash::Sha512,
    };
    let first = First::new(hash, &user, &password);
    let said = say(broker, &first.message()).await?;
    let last = first.answer(&said).ok_or_else(|| broker.strange())?;
    let said = say(broker, &last.message).await?;
    if last.is_proven(&said) { Ok(()) } else { Err(broker.strange()) }
}

/// Says a message of SCRAM. Some brokers refuse in the answer to it, and not by a code of their own.
async fn say(broker: &mut Broker, message: &str) -> Result<String, Finding> {
    let said = authenticate(broker, message.as_bytes()).await?;
    let said = String::from_utf8_lossy(&said).into_owned();
    match scram::server_error(&said) {
        Some(word) => Err(Finding::error(Fault::Tool, "refused", format!("{}: {word}", broker.place()))),
        None => Ok(said),
    }
}

async fn authenticate(broker: &mut Broker, said: &[u8]) -> Result<Vec<u8>, Finding> {
    let mut answer = broker.ask(SASL_AUTHENTICATE, &Out::new().bytes(said)).await?;
    match (answer.short(), answer.text(), answer.content()) {
        (Some(0), Some(_), Some(said)) => Ok(said),
        (Some(code), ..) if code != 0 => Err(refused(broker.place(), code)),
        _ => Err(broker.strange()),
    }
}

fn read_metadata(answer: &mut In) -> Option<Metadata> {
    answer.int()?;
    let brokers = answer.list(|it| {
        let (node, host, port) = (it.int()?, it.text()?, it.int()?);
        it.text()?;
        Some((node, Place { host, port: u16::try_from(port).ok()? }))
    })?;
    answer.text()?;
    answer.int()?;
    let topics = answer.list(|it| {
        let (error, name) = (it.short()?, it.text()?);
        it.byte()?;
        let partitions = it.list(|it| {
            let (error, id, leader) = (it.short()?, it.int()?, it.int()?);
            let (replicas, in_sync) = (it.list(In::int)?.len(), it.list(In::int)?.len());
            Some(Partition { error, id, leader, replicas, in_sync })
        })?;
        Some(Topic { error, name, partitions })
    })?;
    Some(Metadata { brokers: brokers.into_iter().collect(), topics })
}
