//! Reaching a service: its address, every address of its name, TCP, TLS, and what is told when that does not work.
//!
//! No proxy and no other setting of the environment takes part. TLS is verified with the system's certificate
//! authorities, or with those of a file of the plan.

use super::chain;
use crate::gate::{Context, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, holds_a_password};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A host and a port, as `db.internal:5432` or `[::1]:5432`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Splits a host from its port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let sound = !host.is_empty() && (bare.is_some() || !host.contains(':')) && !host.contains(['/', '@']);
        let port = port.parse().ok().filter(|port| *port > 0)?;
        sound.then(|| Self { host: host.to_owned(), port })
    }

    /// The place that a text of the plan names.
    pub(super) fn of(context: &Context<'_>, text: &Text) -> Result<Self, Finding> {
        Self::parse(&context.resolve(text)?).ok_or_else(|| {
            let reason = format!("{text} is not an address such as `host:1234`");
            Finding::error(Fault::Unresolved, "address", reason)
        })
    }

    /// Every address of the name, as the system resolves it.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Finding> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let mut found: Vec<_> = match found {
            Ok(found) => found.collect(),
            Err(error) => {
                let reason = format!("{} cannot be resolved: {error}", self.host);
                return Err(Finding::error(Fault::Connect, "resolve", reason));
            }
        };
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            let reason = format!("{} has no address", self.host);
            return Err(Finding::error(Fault::Connect, "resolve", reason));
        }
        Ok(found)
    }

    /// Connects to the first address that lets us.
    pub(super) async fn connect(&self, patience: Duration) -> Result<TcpStream, Finding> {
        let addresses = self.addresses().await?;
        // One address that swallows everything must not use up the time of the others.
        let share = patience / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = None;
        for address in addresses {
            match tokio::time::timeout(share, connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(finding)) => last = Some(finding),
                Err(_) => last = Some(silent(&address)),
            }
        }
        Err(last.unwrap_or_else(|| silent(self)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn silent(place: &dyn fmt::Display) -> Finding {
    Finding::error(Fault::Connect, "connect", format!("{place} did not answer in time"))
}

/// Connects to one address.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Finding> {
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| {
        Finding::error(Fault::Connect, "connect", format!("{address}: {}", chain(&error)))
    })?;
    // Probes are conversations of short messages.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Whom TLS trusts: the authorities in a file, or the system's.
pub(super) fn trust(context: &Context<'_>, ca_file: Option<&Text>) -> Result<Arc<ClientConfig>, Finding> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let wrong = |error: &dyn fmt::Display| {
                Finding::error(Fault::Unresolved, "ca-file", format!("cannot use {file}: {error}"))
            };
            let certificates =
                CertificateDer::pem_file_iter(context.path(file)?).map_err(|error| wrong(&error))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"it has no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let reason = "the system has no certificate authorities; name a `ca_file`";
                return Err(Finding::error(Fault::Unresolved, "ca-file", reason));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default protocol versions");
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The name that a certificate must be for.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, Finding> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        Finding::error(Fault::Unresolved, "name", format!("`{host}` cannot be the name of a server"))
    })
}

/// Speaks TLS over a connection.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: S,
) -> io::Result<TlsStream<S>> {
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// What is wrong with a certificate, where that is why TLS did not come about.
pub(super) fn certificate_error(error: &io::Error) -> Option<&rustls::CertificateError> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => Some(error),
        _ => None,
    }
}

/// A connection, with or without TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection to a service of a text or binary protocol.
pub(super) struct Wire {
    stream: Box<dyn Io>,
    /// What was received and not read yet.
    buffer: Vec<u8>,
    start: usize,
    /// For messages: host and port.
    pub(super) place: String,
}

/// No message of the protocols here is longer; what is, comes from something else.
const LONGEST: usize = 64 * 1024 * 1024;

impl Wire {
    /// Connects to a service as its URL says.
    pub(super) async fn open(
        context: &Context<'_>,
        target: &Target,
        ca_file: Option<&Text>,
    ) -> Result<Self, Finding> {
        Self::open_place(context, &target.place, target.tls, ca_file).await
    }

    /// Connects to a place.
    pub(super) async fn open_place(
        context: &Context<'_>,
        place: &Place,
        tls: bool,
        ca_file: Option<&Text>,
    ) -> Result<Self, Finding> {
        let config = if tls { Some(trust(context, ca_file)?) } else { None };
        let mut wire = Self::plain(place.connect(context.timeout()).await?, place);
        if let Some(config) = config {
            wire = wire.secured(&config, place).await?;
        }
        Ok(wire)
    }

    fn plain(stream: TcpStream, place: &Place) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), start: 0, place: place.to_string() }
    }

    /// Goes on with TLS; whatever was received before it is not taken for what comes after.
    pub(super) async fn secured(
        mut self,
        config: &Arc<ClientConfig>,
        place: &Place,
    ) -> Result<Self, Finding> {
        let tls = handshake(config, server_name(&place.host)?, self.stream).await.map_err(|error| {
            Finding::error(Fault::Connect, "tls", format!("{}: {}", self.place, chain(&error)))
        })?;
        self.stream = Box::new(tls);
        self.buffer.clear();
        self.start = 0;
        Ok(self)
    }

    /// Sends bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.lost(&error))
    }

    /// Receives exactly so many bytes.
    pub(super) async fn take(&mut self, count: usize) -> Result<Vec<u8>, Finding> {
        if count > LONGEST {
            return Err(self.strange("a message is longer than any of the protocol"));
        }
        while self.buffer.len() - self.start < count {
            self.fill().await?;
        }
        let taken = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        Ok(taken)
    }

    /// Receives a line, without its end.
    pub(super) async fn line(&mut self) -> Result<String, Finding> {
        loop {
            let unread = &self.buffer[self.start..];
            if let Some(at) = unread.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&unread[..at]).trim_end_matches('\r').to_owned();
                self.start += at + 1;
                return Ok(line);
            }
            if unread.len() > 1024 * 1024 {
                return Err(self.strange("a line has no end"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Finding> {
        self.buffer.drain(..self.start);
        self.start = 0;
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => {
                Err(self.lost(&io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &io::Error) -> Finding {
        Finding::error(Fault::Connect, "connection-lost", format!("{}: {}", self.place, chain(error)))
    }

    /// An answer that is not of the protocol.
    pub(super) fn strange(&self, what: impl fmt::Display) -> Finding {
        Finding::error(Fault::Parse, "protocol", format!("{}: {what}", self.place))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The schemes of a service: each with whether it means TLS, and its port.
pub(super) type Schemes = [(&'static str, bool, u16)];

/// A service as its URL says.
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// What stands behind the first `/` of the path.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
}

impl Target {
    /// Reads the URL of a service; the password stands beside it, or in it where it comes from a variable as a whole.
    pub(super) fn of(
        context: &Context<'_>,
        url: &Text,
        password: Option<&Text>,
        schemes: &Schemes,
    ) -> Result<Self, Finding> {
        let text = context.resolve(url)?;
        let wrong = |why: &dyn fmt::Display| {
            Finding::error(Fault::Unresolved, "url", format!("{url} is not an address: {why}"))
        };
        let parsed = reqwest::Url::parse(&text).map_err(|error| wrong(&error))?;
        let scheme = schemes.iter().find(|(name, ..)| *name == parsed.scheme());
        let Some(&(_, tls, port)) = scheme else { return Err(wrong(&expected_schemes(schemes))) };
        let host =
            parsed.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong(&"it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let own = parsed.password().map(decoded);
        let given = password.map(|password| context.resolve(password)).transpose()?;
        Ok(Self {
            place: Place { host, port: parsed.port().unwrap_or(port) },
            tls,
            user: Some(decoded(parsed.username())).filter(|user| !user.is_empty()),
            password: given.or(own),
            path: decoded(parsed.path().trim_start_matches('/')),
            query: parsed.query_pairs().into_owned().collect(),
        })
    }
}

fn expected_schemes(schemes: &Schemes) -> String {
    let names: Vec<_> = schemes.iter().map(|(name, ..)| format!("`{name}://`")).collect();
    format!("it must begin with {}", names.join(" or "))
}

/// Undoes percent-encoding.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is wrong with the URL and the password of a service, as far as the plan shows.
pub(super) fn wrong_url(url: &Text, password: Option<&Text>, schemes: &Schemes) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let template = url.template();
    if !template.starts_with("${")
        && !schemes.iter().any(|(name, ..)| template.starts_with(&format!("{name}://")))
    {
        wrong.push(Wrong::text(url, format!("the address is wrong: {}", expected_schemes(schemes))));
    }
    if holds_a_password(template) {
        let message =
            "the address holds a password, which a plan must not; write `password = \"${secret:NAME}\"`";
        wrong.push(Wrong::text(url, message));
    }
    wrong.extend(wrong_password(password));
    wrong
}

/// A password that stands in the plan.
pub(super) fn wrong_password(password: Option<&Text>) -> Option<Wrong> {
    let written = password.filter(|password| !password.template().starts_with("${"))?;
    Some(Wrong::text(written, "a plan must not hold a password; write `${secret:NAME}` or `${env:NAME}`"))
}

/// What is wrong with a `host:port` of the plan.
pub(super) fn wrong_place(text: &Text) -> Option<Wrong> {
    let template = text.template();
    (!template.contains("${") && Place::parse(template).is_none()).then(|| {
        Wrong::text(text, "an address is a host and a port, such as `db.internal:5432` or `[::1]:5432`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_port() {
        for (text, expected) in [
            ("db:5432", Some(("db", 5432))),
            ("127.0.0.1:1", Some(("127.0.0.1", 1))),
            ("[::1]:80", Some(("::1", 80))),
            ("::1:80", None),
            ("db", None),
            ("db:", None),
            (":1", None),
            ("db:0", None),
            ("db:65536", None),
            ("http://db:80", None),
            ("user@db:80", None),
        ] {
            let place = Place::parse(text);
            assert_eq!(place.as_ref().map(|it| (it.host.as_str(), it.port)), expected, "{text}");
            if let Some(place) = place {
                assert_eq!(place.to_string(), text);
            }
        }
    }

    #[test]
    fn percent_encoding_is_undone_once() {
        for (text, expected) in
            [("a%2Fb", "a/b"), ("%2525", "%25"), ("50%", "50%"), ("%zz", "%zz"), ("ü", "ü")]
        {
            assert_eq!(decoded(text), expected);
        }
    }
}
