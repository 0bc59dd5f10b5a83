//! `kind = "tls"`: speaks TLS, verifies the chain and the name, and looks at how long every certificate is still valid.

use super::certificate::Certificate;
use super::chain;
use super::net::{Place, certificate_error, connect, handshake, server_name, trust, wrong_place};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server whose certificates must be trusted, be for its name, and stay valid for a while.
///
/// The leaf counts, and every intermediate that the server sends. Each address of the name is asked: the one that was
/// forgotten is the one that expires.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Host and port, such as `www.example.com:443`.
    pub address: Text,
    /// For how many more days every certificate must be valid.
    pub min_days: Threshold,
    /// The name that is asked for (SNI) and that the certificate must be for; by default the host of the address.
    pub name: Option<Text>,
    /// How TLS begins on a port that starts without it.
    pub starttls: Option<Starttls>,
    /// Whether every address of the name must do so, IPv4 and IPv6, which is the default; else the first one.
    #[serde(default = "yes")]
    pub every_address: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// A protocol that begins without TLS and changes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Starttls {
    /// PostgreSQL's own, `SSLRequest`.
    Postgres,
    /// Mail, RFC 3207.
    Smtp,
}

fn yes() -> bool {
    true
}

/// How long the certificates of one address are still valid, in days.
struct Left {
    leaf: f64,
    /// The least of the intermediates; none where the server sends no intermediate.
    intermediate: Option<f64>,
    protocol: String,
}

impl Gate for Tls {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        wrong_place(&self.address).into_iter().collect()
    }

    fn summary(&self) -> String {
        format!("the certificates of {} are valid for {} days", self.address, self.min_days)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Tls {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let place = Place::of(context, &self.address)?;
        let config = trust(context, self.ca_file.as_ref())?;
        let name = match &self.name {
            Some(name) => server_name(&context.resolve(name)?)?,
            None => server_name(&place.host)?,
        };
        let mut addresses = place.addresses().await?;
        if !self.every_address {
            addresses.truncate(1);
        }
        let (mut leaf, mut intermediate, mut protocol) = (f64::INFINITY, None, String::new());
        for address in &addresses {
            let left = self.look_at(context, *address, &config, &name).await?;
            leaf = leaf.min(left.leaf);
            intermediate = least(intermediate, left.intermediate);
            protocol = left.protocol;
        }
        let least = leaf.min(intermediate.unwrap_or(f64::INFINITY));
        let reason =
            format!("{} is trusted at {} addresses, for {least:.0} more days", self.address, addresses.len());
        #[expect(clippy::cast_precision_loss, reason = "a name has few addresses")]
        let finding = Finding::pass(reason)
            .measured("leaf_days", leaf)
            .measured("addresses", addresses.len() as f64)
            .output("protocol", protocol)
            .judged_by(format!("days >= {}", self.min_days));
        Ok(match intermediate {
            Some(days) => finding.measured("intermediate_days", days),
            None => finding,
        })
    }

    async fn look_at(
        &self,
        context: &Context<'_>,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Left, Finding> {
        let mut stream = connect(address).await?;
        match self.starttls {
            Some(Starttls::Postgres) => start_postgres(&mut stream, address).await?,
            Some(Starttls::Smtp) => start_smtp(&mut stream, address).await?,
            None => {}
        }
        let secured = handshake(config, name.clone(), stream).await;
        let secured = secured.map_err(|error| untrusted(address, name, &error))?;
        let (_, session) = secured.get_ref();
        let protocol = session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let presented = session.peer_certificates().unwrap_or_default();
        self.judge(presented, address, context.now(), protocol)
    }

    fn judge(
        &self,
        presented: &[CertificateDer<'_>],
        address: SocketAddr,
        now: Timestamp,
        protocol: String,
    ) -> Result<Left, Finding> {
        let (mut leaf, mut intermediate) = (None, None);
        for (position, der) in presented.iter().enumerate() {
            let certificate = Certificate::parse(der).ok_or_else(|| {
                let reason = format!("{address} sent a certificate that cannot be read");
                Finding::error(Fault::Parse, "certificate-unreadable", reason)
            })?;
            // A root that is sent along is not what clients verify with.
            if position > 0 && certificate.self_issued {
                continue;
            }
            let which = if position == 0 { "certificate" } else { "intermediate certificate" };
            let subject = &certificate.subject;
            if certificate.not_before > now {
                let reason = format!(
                    "{address}: the {which} `{subject}` is not valid before {}",
                    certificate.not_before
                );
                return Err(Finding::fail("not-yet-valid", reason));
            }
            let days = now.duration_until(certificate.not_after).as_secs_f64() / 86_400.0;
            if days < self.min_days.get() {
                let reason = format!(
                    "{address}: the {which} `{subject}` is valid for {days:.1} more days, until {}",
                    certificate.not_after
                );
                let name = if position == 0 { "leaf_days" } else { "intermediate_days" };
                return Err(Finding::fail("expires-soon", reason)
                    .measured(name, days)
                    .judged_by(format!("days >= {}", self.min_days)));
            }
            if position == 0 {
                leaf = Some(days);
            } else {
                intermediate = least(intermediate, Some(days));
            }
        }
        let leaf = leaf.ok_or_else(|| {
            Finding::error(Fault::NoData, "no-certificate", format!("{address} sent no certificate"))
        })?;
        Ok(Left { leaf, intermediate, protocol })
    }
}

fn least(left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

/// Why TLS did not come about: what is wrong with a certificate was shown; anything else could not be judged.
fn untrusted(address: SocketAddr, name: &ServerName<'_>, error: &std::io::Error) -> Finding {
    let said = format!("{address}: {}", chain(error));
    let code = match certificate_error(error) {
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => "expired",
        Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => "not-yet-valid",
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            let reason = format!("{address}: the certificate is not for `{}`", name.to_str());
            return Finding::fail("name", reason);
        }
        Some(CertificateError::UnknownIssuer) => {
            let reason = format!("{address}: no trusted authority stands behind the certificate");
            return Finding::fail("untrusted", reason);
        }
        Some(_) => "certificate",
        None => return Finding::error(Fault::Connect, "handshake", said),
    };
    Finding::fail(code, said)
}

fn lost(address: SocketAddr, error: &std::io::Error) -> Finding {
    Finding::error(Fault::Connect, "connection-lost", format!("{address}: {error}"))
}

/// Asks a PostgreSQL server for TLS (protocol documentation, "SSL Session Encryption").
async fn start_postgres(stream: &mut TcpStream, address: SocketAddr) -> Result<(), Finding> {
    let lost = |error| lost(address, &error);
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.map_err(lost)?;
    match stream.read_u8().await.map_err(lost)? {
        b'S' => Ok(()),
        b'N' => Err(Finding::fail("no-tls", format!("{address} does not offer TLS"))),
        _ => Err(Finding::error(Fault::Parse, "protocol", format!("{address} is not PostgreSQL"))),
    }
}

async fn start_smtp(stream: &mut TcpStream, address: SocketAddr) -> Result<(), Finding> {
    smtp(stream, address, "220").await?;
    stream.write_all(b"EHLO ops-gates.invalid\r\n").await.map_err(|error| lost(address, &error))?;
    let offers = smtp(stream, address, "250").await?;
    if !offers.lines().any(|line| line.get(4..).is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))) {
        return Err(Finding::fail("no-tls", format!("{address} does not offer TLS")));
    }
    stream.write_all(b"STARTTLS\r\n").await.map_err(|error| lost(address, &error))?;
    smtp(stream, address, "220").await.map(drop)
}

/// Reads a reply of several lines, of which the last has a space behind its code. One byte at a time, so that nothing of
/// TLS is taken.
async fn smtp(stream: &mut TcpStream, address: SocketAddr, code: &str) -> Result<String, Finding> {
    let mut reply = String::new();
    loop {
        let start = reply.len();
        while !reply[start..].ends_with('\n') {
            let byte = stream.read_u8().await.map_err(|error| lost(address, &error))?;
            reply.push(char::from(byte));
            if reply.len() > 16 * 1024 {
                return Err(Finding::error(
                    Fault::Parse,
                    "protocol",
                    format!("{address} is not a mail server"),
                ));
            }
        }
        if reply[start..].get(3..4) != Some("-") {
            break;
        }
    }
    if reply.starts_with(code) {
        return Ok(reply);
    }
    let said: String = reply.trim().chars().take(200).collect();
    Err(Finding::error(Fault::NotReady, "not-ready", format!("{address} said {said:?}")))
}
