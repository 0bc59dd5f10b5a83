//! From an open stream to a session: the startup message, who we are, and what the server says about itself.
//!
//! What is proven how: SCRAM-SHA-256 by itself; MD5 as the server asks, for old roles; a password in the clear only where
//! nobody can listen, which is TLS or a unix socket.

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

/// Opens a session of physical replication; `private` says that nobody can listen.
pub(super) async fn login(frames: &mut Frames, config: &Config, private: bool) -> Result<Parameters> {
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
    authenticate(frames, config, &user, private).await?;
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

async fn authenticate(frames: &mut Frames, config: &Config, user: &str, private: bool) -> Result<()> {
    let (way, mut body) = request(frames).await?;
    if way != SASL && config.get_channel_binding() == ChannelBinding::Require {
        return Err(no_binding());
    }
    let mut message = BytesMut::new();
    match way {
        OK => return Ok(()),
        CLEARTEXT if !private => {
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
            scram(frames, config, body).await?;
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

/// RFC 5802 and 7677, without channel binding: the connector does not tell the server's certificate.
async fn scram(frames: &mut Frames, config: &Config, mut mechanisms: Bytes) -> Result<()> {
    let mut offered = false;
    while let Some(byte) = mechanisms.first() {
        if *byte == 0 {
            break;
        }
        offered |= message::text(&mut mechanisms)? == sasl::SCRAM_SHA_256;
    }
    if config.get_channel_binding() == ChannelBinding::Require {
        return Err(no_binding());
    }
    if !offered {
        let message = format!("{} offers no authentication with scram-sha-256", frames.target);
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    let mut scram = sasl::ScramSha256::new(password(frames, config)?, sasl::ChannelBinding::unsupported());
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut message)
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

fn no_binding() -> Error {
    let message =
        "channel_binding is require, and a replication session does not offer it: use sslmode=verify-full";
    Error::new(ErrorKind::Configuration, message)
}

/// The cause is left out of the message: it may quote what it could not write.
fn unusable(_: std::io::Error, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the {what} of the connection settings holds a zero byte"))
}

fn unproven(frames: &Frames, error: std::io::Error) -> Error {
    let message = format!("{} does not prove that it knows the password", frames.target);
    Error::new(ErrorKind::Postgres, message).with_source(error)
}
