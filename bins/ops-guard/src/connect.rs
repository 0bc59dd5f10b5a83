//! From settings to a server: the connection string, the password from wherever it is kept, and errors with their exit codes.

use crate::args::GuardSettings;
use ops_cli::{Exit, Failure};
use ops_core::connection::ConnectionSettings;
use ops_core::{Error, ErrorKind};

/// The server that the settings name.
///
/// The password is that of the settings; else that of the connection string; else `PGPASSWORD`.
pub(crate) fn server(settings: &GuardSettings, trace_id: &str) -> Result<ConnectionSettings, Failure> {
    if settings.url.is_empty() {
        let failure = Failure::new(Exit::Config, "no server is named");
        return Err(failure.hint(
            "give --url postgresql://app@db.example/shop, or set OPS_GUARD_URL, or `url` under [guard] in ops.toml",
        ));
    }
    let parsed = ConnectionSettings::parse(settings.url.expose_secret())
        .map_err(|error| Failure::from_error(Exit::Config, &error))?;
    let parsed = parsed.with_application("ops-guard", Some(trace_id));
    if !settings.password.is_empty() {
        return Ok(parsed.with_password(settings.password.expose_secret().as_str().into()));
    }
    match std::env::var("PGPASSWORD") {
        Ok(password) if parsed.config().get_password().is_none() => Ok(parsed.with_password(password.into())),
        _ => Ok(parsed),
    }
}

/// Words a library error for a person, with the exit code that belongs to its kind.
pub(crate) fn failed(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::InvalidSettings => Exit::Config,
        ErrorKind::Unavailable | ErrorKind::Server => Exit::Unavailable,
        ErrorKind::Denied => Exit::No,
        _ => Exit::Unjudged,
    };
    let failure = Failure::from_error(exit, error);
    match error.kind() {
        ErrorKind::Unavailable => {
            failure.hint("is the server running, and does --url name it as psql would?")
        }
        ErrorKind::Server if error.sqlstate() == Some("28P01") => {
            failure.hint("set the password: OPS_GUARD_PASSWORD, OPS_GUARD_PASSWORD_FILE, PGPASSWORD, or `password` under [guard]")
        }
        _ => failure,
    }
}
