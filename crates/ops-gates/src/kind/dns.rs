//! `kind = "dns"`: looks a name up, as the system does or at servers of the plan, and compares what comes back.

mod message;

use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
pub use message::DnsRecord;
use message::{Answer, parse, query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// A name that must resolve as expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The name.
    pub name: Text,
    /// What is asked for. Without `servers` only addresses can be: the system does not look up others.
    pub record: Option<DnsRecord>,
    /// Values that must be there: addresses, names without a dot at the end, `10 mail.example.com` for MX, texts for TXT.
    #[serde(default)]
    pub expect: Vec<Text>,
    /// Whether nothing else may be there.
    #[serde(default)]
    pub only: bool,
    /// The fewest values that must be there.
    pub min_records: Option<usize>,
    /// Servers to ask, each as an address with a port such as `10.0.0.2:53`. All must agree. By default the system looks
    /// the name up in its own way, which includes `/etc/hosts`.
    #[serde(default)]
    pub servers: Vec<Text>,
}

impl Gate for Dns {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.expect.is_empty() && self.min_records.is_none() {
            wrong.push(Wrong::gate("a name that resolves proves little; give `expect` or `min_records`"));
        }
        if self.min_records == Some(0) {
            wrong.push(Wrong::gate("`min_records = 0` is true of every answer, so it would prove nothing"));
        }
        if self.only && self.expect.is_empty() {
            wrong.push(Wrong::gate("`only` needs `expect`"));
        }
        let addresses = matches!(self.record, None | Some(DnsRecord::A | DnsRecord::Aaaa));
        if self.servers.is_empty() && !addresses {
            wrong.push(Wrong::gate("the system looks up addresses alone; name `servers` for other records"));
        }
        for server in self.servers.iter().filter(|text| !text.template().contains("${")) {
            if server.template().parse::<SocketAddr>().is_err() {
                wrong.push(Wrong::text(server, "a server is an address and a port, such as `10.0.0.2:53`"));
            }
        }
        wrong
    }

    fn summary(&self) -> String {
        let record = self.record.map_or("addresses", DnsRecord::word);
        format!("{record} of {}", self.name)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Dns {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let name = context.resolve(&self.name)?;
        let expected = self.expect.iter().map(|text| Ok(normal(&context.resolve(text)?)));
        let expected = expected.collect::<Result<BTreeSet<String>, Finding>>()?;
        let mut asked = 0;
        let mut seen = BTreeSet::new();
        if self.servers.is_empty() {
            seen = self.ask_system(&name).await?;
            self.judge(&seen, &expected, "the system")?;
        }
        for server in &self.servers {
            let address = context.resolve(server)?;
            let wrong = || Finding::error(Fault::Unresolved, "server", format!("{server} is not an address"));
            let address: SocketAddr = address.parse().map_err(|_| wrong())?;
            let patience = context.timeout() / 4;
            let mut found = BTreeSet::new();
            for record in self.records() {
                found.extend(ask(address, &name, *record, patience).await?);
            }
            self.judge(&found, &expected, server.template())?;
            if asked > 0 && found != seen {
                let reason = format!(
                    "the servers do not agree on {}: {} and {}",
                    self.name,
                    list(&seen),
                    list(&found)
                );
                return Err(Finding::fail("disagree", reason));
            }
            seen = found;
            asked += 1;
        }
        #[expect(clippy::cast_precision_loss, reason = "an answer holds few records")]
        let finding =
            Finding::pass(format!("{} is {}", self.name, list(&seen))).measured("records", seen.len() as f64);
        Ok(finding)
    }

    fn records(&self) -> &[DnsRecord] {
        self.record.as_ref().map_or(&[DnsRecord::A, DnsRecord::Aaaa], std::slice::from_ref)
    }

    async fn ask_system(&self, name: &str) -> Result<BTreeSet<String>, Finding> {
        let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| {
            Finding::error(Fault::Connect, "resolve", format!("{} cannot be resolved: {error}", self.name))
        })?;
        let wanted = |address: &SocketAddr| match self.record {
            Some(DnsRecord::A) => address.is_ipv4(),
            Some(DnsRecord::Aaaa) => address.is_ipv6(),
            _ => true,
        };
        Ok(found.filter(wanted).map(|address| address.ip().to_string()).collect())
    }

    fn judge(
        &self,
        found: &BTreeSet<String>,
        expected: &BTreeSet<String>,
        whose: &str,
    ) -> Result<(), Finding> {
        if found.is_empty() {
            let reason =
                format!("{whose} has no {} of {}", self.record.map_or("address", DnsRecord::word), self.name);
            return Err(Finding::fail("no-records", reason));
        }
        if let Some(missing) = expected.difference(found).next() {
            let reason = format!("{whose} says that {} is {}, without {missing}", self.name, list(found));
            return Err(Finding::fail("record-missing", reason));
        }
        if let Some(other) = found.difference(expected).next().filter(|_| self.only) {
            let reason = format!("{whose} says that {} is also {other}", self.name);
            return Err(Finding::fail("record-unexpected", reason));
        }
        match self.min_records.filter(|least| found.len() < *least) {
            Some(least) => {
                let reason = format!(
                    "{whose} has {} records of {}, expected at least {least}",
                    found.len(),
                    self.name
                );
                Err(Finding::fail("min-records", reason))
            }
            None => Ok(()),
        }
    }
}

fn list(found: &BTreeSet<String>) -> String {
    let shown: Vec<_> = found.iter().take(8).map(String::as_str).collect();
    let more = if found.len() > 8 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Names are compared without regard to case and to the dot at the end; addresses in one notation.
fn normal(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => text.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// Asks a server by UDP, three times, and by TCP where the answer was cut.
async fn ask(
    server: SocketAddr,
    name: &str,
    record: DnsRecord,
    patience: Duration,
) -> Result<Vec<String>, Finding> {
    let id: u16 = rand::random();
    let request = query(id, name, record)
        .ok_or_else(|| Finding::error(Fault::Unresolved, "name", format!("`{name}` is not a name")))?;
    let lost = |error: std::io::Error| {
        Finding::error(Fault::Connect, "connect", format!("name server {server}: {error}"))
    };
    let mut response = None;
    for _ in 0..3 {
        match tokio::time::timeout(patience, by_udp(server, &request)).await {
            Ok(answered) => {
                response = Some(answered.map_err(lost)?);
                break;
            }
            Err(_) => continue,
        }
    }
    let response = response.ok_or_else(|| {
        Finding::error(Fault::Connect, "silent", format!("name server {server} did not answer"))
    })?;
    let strange =
        || Finding::error(Fault::Parse, "protocol", format!("name server {server} answered something else"));
    let mut answer = parse(&response, id, record).ok_or_else(strange)?;
    if let Answer::Cut = answer {
        let response = by_tcp(server, &request).await.map_err(lost)?;
        answer = parse(&response, id, record).ok_or_else(strange)?;
    }
    match answer {
        Answer::Records(records) => Ok(records.iter().map(|text| normal(text)).collect()),
        Answer::Cut => Err(strange()),
        Answer::Refused(code) => {
            let reason = format!("name server {server} answered {}", message::code_word(code));
            Err(Finding::error(Fault::Tool, "refused", reason))
        }
    }
}

async fn by_udp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await?;
    // Only answers of this server are received then.
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut response = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut response).await?;
        // Of an earlier question, perhaps.
        if response[..length].starts_with(&request[..2]) {
            response.truncate(length);
            return Ok(response);
        }
    }
}

async fn by_tcp(server: SocketAddr, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = stream.read_u16().await?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await?;
    Ok(response)
}
