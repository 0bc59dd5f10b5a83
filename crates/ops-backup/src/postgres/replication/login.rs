//! From an open stream to a session: the startup message, who we are, and what the server says about itself.
//!
//! What is proven how: SCRAM-SHA-256 by itself, and over TLS bound to the server's certificate where the server offers
//! that; MD5 as the server asks, for old roles; a password in the clear only where nobody can listen, which is TLS or a unix
//! socket.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::frontend;
use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use super::frame::{Frame, Frames, LIMIT};
use super::message::{self, short, unexpected};
use crate::error::{Error, ErrorKind, Result};

/// What the server reports at the begin: `server_version`, `in_hot_standby` and others.
pub(super) type Parameters = HashMap<String, String>;

/// What the bytes of a session go over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Channel {
    /// A network that anybody may listen to.
    Open,
    /// A unix socket.
    Socket,
    Tls {
        /// The hash of the server's certificate; `None` where there is none to bind to.
        end_point: Option<Vec<u8>>,
    },
}

/// Opens a session of physical replication.
pub(super) async fn login(frames: &mut Frames, config: &Config, channel: Channel) -> Result<Parameters> {
    let user = match config.get_user() {
        Some(user) => user.to_owned(),
        None => whoami::username().map_err(|error| {
            let message = "the connection settings name no user, and the system's user has no name";
            Error::new(ErrorKind::Configuration, message).with_source(error)
        })?,
    };
    let mut parameters = vec![("user", user.as_str()), ("replication", "true")];
    parameters.extend(config.get_options().map(|options| ("options", options)));
    parameters.extend(config.get_application_name().map(|name| ("application_name", name)));
    let mut message = BytesMut::new();
    frontend::startup_message(parameters, &mut message)
        .map_err(|error| unusable(error, "user or options"))?;
    frames.send(&message).await?;
    authenticate(frames, config, &user, channel).await?;
    frames.limit = LIMIT;
    let mut parameters = Parameters::new();
    loop {
        let Frame { tag, mut body } = next(frames).await?;
        match tag {
            b'S' => {
                let (name, value) = (message::text(&mut body)?, message::text(&mut body)?);
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                parameters.insert(text(&name), text(&value));
            }
            b'Z' => return Ok(parameters),
            // The key to cancel with, and what the server did not understand of the startup message.
            b'K' | b'v' => {}
            tag => return Err(unexpected(tag)),
        }
    }
}

const OK: i32 = 0;
const CLEARTEXT: i32 = 3;
const MD5: i32 = 5;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;
const SASL_FINAL: i32 = 12;

async fn authenticate(frames: &mut Frames, config: &Config, user: &str, channel: Channel) -> Result<()> {
    let (way, mut body) = request(frames).await?;
    if way != SASL && config.get_channel_binding() == ChannelBinding::Require {
        return Err(no_binding(&format!("{} asks for no proof with scram-sha-256", frames.target)));
    }
    let mut message = BytesMut::new();
    match way {
        OK => return Ok(()),
        CLEARTEXT if channel == Channel::Open => {
            let message = format!(
                "{} asks for a password in the clear over a connection without TLS: it was not sent",
                frames.target
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        CLEARTEXT => frontend::password_message(password(frames, config)?, &mut message)
            .map_err(|error| unusable(error, "password"))?,
        MD5 => {
            if body.len() < 4 {
                return Err(short());
            }
            let salt = body.get_u32().to_be_bytes();
            let hash = md5_hash(user.as_bytes(), password(frames, config)?, salt);
            frontend::password_message(hash.as_bytes(), &mut message)
                .map_err(|error| unusable(error, "password"))?;
        }
        SASL => {
            scram(frames, config, channel, body).await?;
            return expect(frames, OK).await.map(drop);
        }
        way => {
            let message = format!(
                "{} asks for authentication of kind {way}; understood are trust, password, md5 and scram-sha-256",
                frames.target
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
    }
    frames.send(&message).await?;
    expect(frames, OK).await.map(drop)
}

/// RFC 5802 and 7677.
async fn scram(frames: &mut Frames, config: &Config, channel: Channel, mechanisms: Bytes) -> Result<()> {
    let (mechanism, binding) = mechanism(&frames.target, config.get_channel_binding(), channel, mechanisms)?;
    let mut scram = sasl::ScramSha256::new(password(frames, config)?, binding);
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut message)
        .map_err(|error| unusable(error, "password"))?;
    frames.send(&message).await?;
    let challenge = expect(frames, SASL_CONTINUE).await?;
    scram.update(&challenge).map_err(|error| unproven(frames, error))?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message).map_err(|error| unusable(error, "password"))?;
    frames.send(&message).await?;
    let proof = expect(frames, SASL_FINAL).await?;
    scram.finish(&proof).map_err(|error| unproven(frames, error))
}

/// Chooses among the mechanisms that the server offers, and says what the proof is bound to, as libpq does.
fn mechanism(
    target: &str,
    wanted: ChannelBinding,
    channel: Channel,
    mut mechanisms: Bytes,
) -> Result<(&'static str, sasl::ChannelBinding)> {
    let (mut plain, mut plus) = (false, false);
    while mechanisms.first().is_some_and(|byte| *byte != 0) {
        let offered = message::text(&mut mechanisms)?;
        plain |= offered == sasl::SCRAM_SHA_256;
        plus |= offered == sasl::SCRAM_SHA_256_PLUS;
    }
    let end_point = match channel {
        Channel::Tls { end_point } => end_point,
        // The server speaks TLS with somebody, and it is not us.
        Channel::Open | Channel::Socket if plus => {
            let message = format!("{target} offers scram-sha-256-plus over a connection without TLS");
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Channel::Open | Channel::Socket if wanted == ChannelBinding::Require => {
            return Err(no_binding(&format!("the connection to {target} has no TLS")));
        }
        Channel::Open | Channel::Socket => None,
    };
    let end_point = end_point.filter(|_| wanted != ChannelBinding::Disable);
    match end_point {
        Some(hash) if plus => {
            Ok((sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash)))
        }
        Some(_) if wanted == ChannelBinding::Require => {
            Err(no_binding(&format!("{target} does not offer it")))
        }
        None if wanted == ChannelBinding::Require => {
            let reason =
                format!("the certificate of {target} is signed in a way that has no hash to bind to");
            Err(no_binding(&reason))
        }
        _ if !plain => {
            let message = format!("{target} offers no authentication with scram-sha-256");
            Err(Error::new(ErrorKind::Configuration, message))
        }
        // We would have: a server that did offer it refuses us then, because somebody has changed its offer.
        Some(_) => Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested())),
        None => Ok((sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported())),
    }
}

/// Waits for one step of the authentication.
async fn expect(frames: &mut Frames, step: i32) -> Result<Bytes> {
    match request(frames).await? {
        (found, body) if found == step => Ok(body),
        _ => Err(unexpected(b'R')),
    }
}

async fn request(frames: &mut Frames) -> Result<(i32, Bytes)> {
    let Frame { tag, mut body } = next(frames).await?;
    match tag {
        b'R' if body.len() >= 4 => Ok((body.get_i32(), body)),
        b'R' => Err(short()),
        tag => Err(unexpected(tag)),
    }
}

/// The next message that is no notice.
async fn next(frames: &mut Frames) -> Result<Frame> {
    loop {
        let frame = frames.next().await?;
        match frame.tag {
            b'E' => return Err(message::refusal(frame.body)),
            b'N' => {}
            _ => return Ok(frame),
        }
    }
}

fn password<'a>(frames: &Frames, config: &'a Config) -> Result<&'a [u8]> {
    config.get_password().ok_or_else(|| {
        Error::new(
            ErrorKind::Configuration,
            format!("{} asks for a password, and none is given", frames.target),
        )
    })
}

fn no_binding(reason: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("channel_binding is require, and {reason}"))
}

/// The cause is left out of the message: it may quote what it could not write.
fn unusable(_: std::io::Error, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the {what} of the connection settings holds a zero byte"))
}

fn unproven(frames: &Frames, error: std::io::Error) -> Error {
    let message = format!("{} does not prove that it knows the password", frames.target);
    Error::new(ErrorKind::Postgres, message).with_source(error)
}
