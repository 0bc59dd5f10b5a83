//! From connection settings to an open stream: hosts in their order, unix sockets, TLS as `sslmode` says.
//!
//! The rules are those of `tokio_postgres`, so that settings mean the same for every session: each host and each of its
//! addresses is tried, any failure leads to the next, and the last failure is told.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use ops_core::connection::{ConnectionSettings, Tls};
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::frame::{Frames, Stream};
use super::login::{self, Channel, Parameters};
use crate::error::{Error, ErrorKind, Result};

/// How long one server may take to let us in, where the settings do not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a session with the first server that lets us in.
pub(super) async fn connect(settings: &ConnectionSettings) -> Result<(Frames, Parameters)> {
    let (config, target) = (settings.config(), settings.target());
    let tls = settings.tls().map_err(|error| {
        Error::new(ErrorKind::Configuration, format!("cannot set up TLS to {target}")).with_source(error)
    })?;
    let servers = servers(&config)?;
    let several = servers.len() > 1;
    let mut failure = None;
    for server in servers {
        match server.connect(&config, &tls, &target).await {
            Ok(session) => return Ok(session),
            Err(error) if several => {
                tracing::debug!(server = server.to_string(), %error, "this server is not used");
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Configuration, "connection settings name no host")))
}

/// One entry of the settings' list of hosts.
struct Server {
    /// Where to go: an address, a name or a folder.
    place: Host,
    /// What the certificate must be for.
    name: Option<String>,
    port: u16,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}

fn servers(config: &Config) -> Result<Vec<Server>> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |other: usize| other <= 1 || other == count;
    if (!hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len()) || !fits(ports.len()) {
        let message = "connection settings name different numbers of hosts, addresses and ports";
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    let server = |index: usize| {
        let host = hosts.get(index);
        let place = addresses.get(index).map(|address| Host::Tcp(address.to_string())).or(host.cloned())?;
        let name = match host {
            Some(Host::Tcp(name)) => Some(name.clone()),
            Some(Host::Unix(_)) | None => None,
        };
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        Some(Server { place, name, port })
    };
    Ok((0..count).filter_map(server).collect())
}

impl Server {
    async fn connect(&self, config: &Config, tls: &Tls, target: &str) -> Result<(Frames, Parameters)> {
        let patience = config.get_connect_timeout().copied().unwrap_or(PATIENCE);
        let addresses = match &self.place {
            Host::Unix(folder) => vec![Address::Unix(folder)],
            Host::Tcp(host) => {
                let found = tokio::net::lookup_host((host.as_str(), self.port)).await;
                found.map_err(|error| unreachable(target, error))?.map(Address::Tcp).collect()
            }
        };
        let mut failure = None;
        for address in addresses {
            match tokio::time::timeout(patience, self.session(&address, config, tls, target)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(unreachable(target, io::ErrorKind::TimedOut.into())),
            }
        }
        Err(failure.unwrap_or_else(|| unreachable(target, io::ErrorKind::NotFound.into())))
    }

    async fn session(
        &self,
        address: &Address<'_>,
        config: &Config,
        tls: &Tls,
        target: &str,
    ) -> Result<(Frames, Parameters)> {
        let (stream, channel, is_local): (Box<dyn Stream>, Channel, bool) = match address {
            Address::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", self.port));
                let socket = UnixStream::connect(path).await.map_err(|error| unreachable(target, error))?;
                if config.get_ssl_mode() == SslMode::Require {
                    let message = "sslmode asks for TLS, which a unix socket does not have";
                    return Err(Error::new(ErrorKind::Configuration, message));
                }
                (Box::new(socket), Channel::Socket, true)
            }
            Address::Tcp(address) => {
                let socket = TcpStream::connect(address).await.map_err(|error| unreachable(target, error))?;
                set_options(&socket, config).map_err(|error| unreachable(target, error))?;
                let is_own = socket.local_addr().is_ok_and(|own| own.ip() == address.ip());
                let (stream, channel) = self.encrypt(socket, config, tls, target).await?;
                (stream, channel, is_own || address.ip().is_loopback())
            }
        };
        let mut frames = Frames::new(stream, is_local, target.to_owned());
        let parameters = login::login(&mut frames, config, channel)
            .await
            .map_err(|error| within(error, &format!("cannot open a replication session with {target}")))?;
        fits(&parameters, config.get_target_session_attrs(), target)?;
        Ok((frames, parameters))
    }

    async fn encrypt(
        &self,
        mut socket: TcpStream,
        config: &Config,
        tls: &Tls,
        target: &str,
    ) -> Result<(Box<dyn Stream>, Channel)> {
        if config.get_ssl_mode() == SslMode::Disable {
            return Ok((Box::new(socket), Channel::Open));
        }
        if config.get_ssl_negotiation() == SslNegotiation::Postgres {
            let mut request = BytesMut::new();
            frontend::ssl_request(&mut request);
            let mut answer = [0];
            let asked = async {
                socket.write_all(&request).await?;
                socket.read_exact(&mut answer).await
            };
            asked.await.map_err(|error| unreachable(target, error))?;
            if answer != *b"S" {
                if config.get_ssl_mode() == SslMode::Require {
                    let message = format!("{target} does not offer TLS, which sslmode asks for");
                    return Err(Error::new(ErrorKind::Configuration, message));
                }
                return Ok((Box::new(socket), Channel::Open));
            }
        }
        let Some(name) = &self.name else {
            let message = "TLS needs the name of the host beside its address (host and hostaddr)";
            return Err(Error::new(ErrorKind::Configuration, message));
        };
        let Ok(connector) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls.clone(), name);
        let stream = connector.connect(socket).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("cannot speak TLS with {target}")).with_source(error)
        })?;
        let channel = Channel::Tls { end_point: stream.server_end_point() };
        Ok((Box::new(stream), channel))
    }
}

enum Address<'a> {
    Unix(&'a Path),
    Tcp(SocketAddr),
}

/// A dead peer must be found out: a session waits for WAL as long as nothing happens on the server.
fn set_options(socket: &TcpStream, config: &Config) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    if let Some(timeout) = config.get_tcp_user_timeout() {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(socket, milliseconds)?;
    }
    if config.get_keepalives() {
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, config.get_keepalives_idle().min(Duration::from_secs(30)))?;
        if let Some(interval) = config.get_keepalives_interval() {
            sockopt::set_tcp_keepintvl(socket, interval)?;
        }
        if let Some(count) = config.get_keepalives_retries() {
            sockopt::set_tcp_keepcnt(socket, count)?;
        }
    }
    Ok(())
}

/// Whether the server is of the kind that `target_session_attrs` asks for, as libpq decides it.
fn fits(parameters: &Parameters, wanted: TargetSessionAttrs, target: &str) -> Result<()> {
    let is_on = |name: &str| parameters.get(name).is_some_and(|value| value == "on");
    let read_only = is_on("in_hot_standby") || is_on("default_transaction_read_only");
    let refuse = |what: &str| {
        let message = format!("{target} {what}, and target_session_attrs asks for another server");
        Err(Error::new(ErrorKind::Unavailable, message))
    };
    match wanted {
        TargetSessionAttrs::ReadWrite if read_only => refuse("is read-only"),
        TargetSessionAttrs::ReadOnly if !read_only => refuse("can be written to"),
        _ => Ok(()),
    }
}

/// The same failure, told by what was being done.
pub(super) fn within(error: Error, operation: &str) -> Error {
    match error.kind() {
        // The server's own words are the cause already, behind a message that says nothing.
        ErrorKind::Postgres | ErrorKind::Unavailable => {
            Error::new(error.kind(), operation).with_source(error)
        }
        _ => error,
    }
}

fn unreachable(target: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot connect to {target}")).with_source(error)
}
