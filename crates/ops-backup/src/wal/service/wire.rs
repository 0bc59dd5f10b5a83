//! What client and service say to each other: one JSON object a line. Pure.

use std::error::Error as _;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The most bytes of a line.
pub(super) const LONGEST: u64 = 64 << 10;

/// What a client wants.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub(super) enum Request {
    /// That the file of this name in the WAL directory is durable.
    Push { name: String },
    /// That the file is written to the WAL directory under the name `to`.
    Fetch { name: String, to: String },
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(super) enum Reply {
    Stored,
    AlreadyThere,
    Written,
    Absent,
    Failed {
        code: String,
        message: String,
        cause: Option<String>,
    },
    /// The service does not know the request: it is of another version.
    Unknown,
}

impl Request {
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    pub(super) fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

impl Reply {
    pub(super) fn failed(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let cause = (!causes.is_empty()).then(|| causes.join(": "));
        Reply::Failed { code: error.code().to_owned(), message: error.to_string(), cause }
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    pub(super) fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// The error that a service told, as it would have been here.
pub(super) fn error(code: &str, message: String, cause: Option<String>) -> Error {
    let error = Error::new(ErrorKind::from_code(code).unwrap_or(ErrorKind::Io), message);
    match cause {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}

fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("a request or reply is always valid JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_understand_each_other() {
        let push = Request::Push { name: "0000\"\n".to_owned() };
        let line = String::from_utf8(push.to_line()).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Request::parse(&line), Some(push));
        assert_eq!(Request::parse("{\"request\":\"juggle\"}"), None);

        let cause = std::io::Error::other("the disk is on fire");
        let told = Reply::failed(&Error::io("read \"x\"", cause));
        let line = String::from_utf8(told.to_line()).unwrap();
        let Some(Reply::Failed { code, message, cause }) = Reply::parse(&line) else { panic!("{line}") };
        let here = error(&code, message, cause);
        assert_eq!((here.kind(), here.to_string()), (ErrorKind::Io, "cannot read \"x\"".to_owned()));
        assert_eq!(here.source().unwrap().to_string(), "the disk is on fire");
    }
}
