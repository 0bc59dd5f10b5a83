//! Mail by SMTP (RFC 5321), as much of it as a message takes: STARTTLS, AUTH PLAIN, one text.
//!
//! Without `tls = "none"` nothing is sent before the connection is encrypted and the server's name is verified: a password
//! is never offered to whoever answers first.

use super::{Failed, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;

/// A mail server, and whom to write to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The name of the server.
    pub host: String,
    /// Its port; 587 takes mail of users.
    #[serde(default = "submission")]
    pub port: u16,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: Tls,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Who sends it.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// The user to log in as.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    pub password: Option<SecretString>,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From STARTTLS on; a server that does not offer it is not used.
    #[default]
    Starttls,
    /// From the first byte on, as port 465 has it.
    Implicit,
    /// Never; for a server on this machine alone. No password is sent.
    None,
}

impl Email {
    /// The port that takes mail of users.
    pub const SUBMISSION: u16 = 587;
}

fn submission() -> u16 {
    Email::SUBMISSION
}

/// The longest answer that is read; a server has no reason for more.
const LONGEST: u64 = 64 * 1024;

pub(super) async fn send(email: &Email, message: &Message) -> Result<(), Failed> {
    for address in email.to.iter().chain([&email.from]) {
        if !is_address(address) {
            return Err((format!("`{}` is no mail address", address.escape_default()), false));
        }
    }
    if email.to.is_empty() {
        return Err(("nobody is named to write to".to_owned(), false));
    }
    let stream = TcpStream::connect((email.host.as_str(), email.port)).await;
    let stream = stream.map_err(|error| (format!("{} cannot be reached: {error}", email.host), true))?;
    match email.tls {
        Tls::None => {
            let mut session = Session::greeted(stream).await?;
            session.hello().await?;
            session.mail(email, message).await
        }
        Tls::Implicit => {
            let mut session = Session::greeted(encrypt(email, stream).await?).await?;
            session.log_in(email).await?;
            session.mail(email, message).await
        }
        Tls::Starttls => {
            let mut plain = Session::greeted(stream).await?;
            if !plain.hello().await?.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
                return Err((format!("{} does not offer STARTTLS", email.host), false));
            }
            plain.command("STARTTLS", 220).await?;
            // What was sent before the handshake would otherwise count as said by the verified server.
            if !plain.stream.buffer().is_empty() {
                return Err((
                    format!("{} sent more than its answer before the handshake", email.host),
                    false,
                ));
            }
            let mut session = Session::new(encrypt(email, plain.stream.into_inner()).await?);
            session.log_in(email).await?;
            session.mail(email, message).await
        }
    }
}

async fn encrypt(
    email: &Email,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
    let never = |what: String| (what, false);
    let roots = roots(email.ca_file.as_deref()).map_err(never)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| never(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(email.host.clone())
        .map_err(|_| never(format!("`{}` is no name of a server", email.host)))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connected = connector.connect(name, stream).await;
    connected.map_err(|error| never(format!("no encrypted connection to {}: {error}", email.host)))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    Ok(roots)
}

struct Session<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    async fn greeted(stream: S) -> Result<Self, Failed> {
        let mut session = Self::new(stream);
        session.answer("the connection", 220).await?;
        Ok(session)
    }

    /// Says who we are; returns what the server offers.
    async fn hello(&mut self) -> Result<Vec<String>, Failed> {
        self.command("EHLO localhost", 250).await
    }

    async fn log_in(&mut self, email: &Email) -> Result<(), Failed> {
        self.hello().await?;
        let (Some(user), Some(password)) = (&email.user, &email.password) else { return Ok(()) };
        let plain = format!("\0{user}\0{}", password.expose_secret());
        self.write(&format!("AUTH PLAIN {}", BASE64.encode(plain))).await?;
        self.answer("AUTH", 235).await.map(drop)
    }

    async fn mail(&mut self, email: &Email, message: &Message) -> Result<(), Failed> {
        self.command(&format!("MAIL FROM:<{}>", email.from), 250).await?;
        for to in &email.to {
            self.command(&format!("RCPT TO:<{to}>"), 250).await?;
        }
        self.command("DATA", 354).await?;
        self.write(&letter(email, message, Timestamp::now())).await?;
        self.answer("the message", 250).await?;
        // The message is taken; a server that hangs up instead of saying goodbye does not change that.
        let _ = self.command("QUIT", 221).await;
        Ok(())
    }

    async fn command(&mut self, line: &str, expected: u16) -> Result<Vec<String>, Failed> {
        self.write(line).await?;
        self.answer(line.split([' ', ':']).next().unwrap_or_default(), expected).await
    }

    async fn write(&mut self, line: &str) -> Result<(), Failed> {
        let written = async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.write_all(b"\r\n").await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| (format!("the connection broke: {error}"), true))
    }

    /// Reads an answer, whose lines have a code; the last has a blank behind it.
    async fn answer(&mut self, to: &str, expected: u16) -> Result<Vec<String>, Failed> {
        let mut lines = Vec::new();
        let mut left = LONGEST;
        loop {
            let mut line = String::new();
            let read = (&mut self.stream).take(left).read_line(&mut line).await;
            let read = read.map_err(|error| (format!("the connection broke: {error}"), true))?;
            left -= read as u64;
            let code: u16 = line
                .get(..3)
                .and_then(|code| code.parse().ok())
                .ok_or_else(|| (format!("the answer to {to} cannot be understood"), true))?;
            if code != expected && !(expected == 250 && code == 251) {
                // A 4xx is for now, a 5xx for good.
                return Err((format!("{to} was answered {code}"), (400..500).contains(&code)));
            }
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(lines);
            }
        }
    }
}

/// The message as it is sent, without the line end behind its last dot.
fn letter(email: &Email, message: &Message, now: Timestamp) -> String {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let id = format!("{}.{}@ops-gates", now.as_nanosecond(), std::process::id());
    let body = BASE64.encode(&message.text);
    let mut text = format!(
        "From: <{}>\r\nTo: {}\r\nDate: {date}\r\nMessage-ID: <{id}>\r\nSubject: {}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\nAuto-Submitted: auto-generated\r\n\r\n",
        email.from,
        email.to.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>().join(", "),
        encoded_words(&message.title),
    );
    // In base64 no line begins with a dot, none is too long, and none is a header.
    for line in body.as_bytes().chunks(76) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push_str("\r\n");
    }
    text.push('.');
    text
}

/// A subject as encoded words of at most 75 characters (RFC 2047); a plain one stays as it is.
fn encoded_words(plain: &str) -> String {
    if plain.len() <= 60 && plain.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !plain.contains("=?") {
        return plain.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in plain.chars().take(120) {
        if word.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64.encode(word))).collect();
    words.join("\r\n ")
}

/// Whether a text can stand between `<` and `>` without ending a line or another command.
fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\,;".contains(&byte))
}
