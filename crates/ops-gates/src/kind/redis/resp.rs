//! Redis' protocol, as much of it as a probe needs (RESP2 of the protocol specification).

use super::super::net::Wire;
use crate::outcome::Finding;

/// What the server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A status or a string.
    Text(String),
    Number(i64),
    Null,
    /// What the server says in place of an answer, its name first.
    Error(String),
}

/// Sends a command and reads the answer to it.
pub(super) async fn ask(wire: &mut Wire, words: &[&str]) -> Result<Reply, Finding> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    wire.send(request.as_bytes()).await?;
    let line = wire.line().await?;
    let Some((kind, rest)) = line.split_at_checked(1) else {
        return Err(wire.strange("an empty line is no answer of Redis"));
    };
    match kind {
        "+" => Ok(Reply::Text(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => match rest.parse() {
            Ok(number) => Ok(Reply::Number(number)),
            Err(_) => Err(wire.strange("a number that is none")),
        },
        "$" if rest == "-1" => Ok(Reply::Null),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Err(wire.strange("a length that is none")) };
            let mut bytes = wire.take(length.saturating_add(2)).await?;
            bytes.truncate(length);
            Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Err(wire.strange("this is not Redis")),
    }
}
