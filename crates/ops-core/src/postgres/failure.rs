//! From `tokio_postgres` errors to ours: the server's words are kept, without the detail that quotes rows.

use std::error::Error as _;

use crate::error::{Error, ErrorKind, ServerError};

/// Names the operation and the server; the kind tells whether the server spoke, the line broke, or the caller erred.
pub(crate) fn failure(operation: &str, target: &str, error: tokio_postgres::Error) -> Error {
    let message = format!("cannot {operation} on {target}");
    if let Some(reported) = error.as_db_error() {
        let kind =
            if is_unavailable(reported.code().code()) { ErrorKind::Unavailable } else { ErrorKind::Server };
        return Error::new(kind, message).caused_by(ServerError::from_postgres(reported));
    }
    let is_broken =
        error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    let kind = if is_broken { ErrorKind::Unavailable } else { ErrorKind::InvalidParameter };
    Error::new(kind, message).caused_by(error)
}

/// A session that could not be opened: whatever the cause, the server cannot be used, unless it said why.
pub(crate) fn connect_failure(target: &str, error: tokio_postgres::Error) -> Error {
    if error.as_db_error().is_some() {
        return failure("open a session", target, error);
    }
    Error::new(ErrorKind::Unavailable, format!("cannot open a session on {target}")).caused_by(error)
}

/// Connection exceptions, too many connections, shutting down and starting up (manual, appendix A).
fn is_unavailable(sqlstate: &str) -> bool {
    sqlstate.starts_with("08") || sqlstate.starts_with("57P0") || sqlstate == "53300"
}
