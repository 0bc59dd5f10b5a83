//! A stand-in for MongoDB: `OP_MSG` with a log-in by SCRAM-SHA-256, and one collection of documents that it keeps.

use crate::scram_peer;
use crate::stand_in::serve;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

/// Starts it; it lets in `user` alone, and says that it is a primary, or a secondary where `primary` says no.
pub(crate) fn start(
    user: &'static str,
    password: &'static str,
    primary: impl Fn() -> bool + Send + Sync + 'static,
) -> u16 {
    let scram = scram_peer::Server { sha512: false, user, password };
    let documents: Arc<Mutex<HashMap<String, String>>> = Arc::default();
    serve(move |mut stream| {
        let (mut allowed, mut login) = (false, None);
        loop {
            let mut head = [0; 16];
            stream.read_exact(&mut head).ok()?;
            let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
            let mut body = vec![0; length.checked_sub(16)?];
            stream.read_exact(&mut body).ok()?;
            // Four bytes of flags, the kind of the section, the length of the document, the type of its first element.
            let name = body.get(10..)?.split(|byte| *byte == 0).next()?;
            let answer = match name {
                b"hello" => {
                    let kind = if primary() { "isWritablePrimary" } else { "secondary" };
                    [boolean(kind, true), text("setName", "rs0")].concat()
                }
                b"saslStart" => match scram.start(&payload(&body)?) {
                    Some((said, started)) => {
                        login = Some(started);
                        sasl(&said, false)
                    }
                    None => refusal(18, "Authentication failed."),
                },
                b"saslContinue" => match login.take().and_then(|login| login.finish(&payload(&body)?)) {
                    Some(said) => {
                        allowed = true;
                        sasl(&said, true)
                    }
                    None => refusal(18, "Authentication failed."),
                },
                _ if !allowed => refusal(13, "command requires authentication"),
                b"ping" => Vec::new(),
                b"insert" => {
                    documents.lock().ok()?.insert(find(&body, "_id")?, find(&body, "value")?);
                    integer("n", 1)
                }
                b"find" => {
                    let documents = documents.lock().ok()?;
                    let id = find(&body, "_id")?;
                    let found = documents
                        .get(&id)
                        .map(|value| nested(3, "0", &[text("_id", &id), text("value", value)].concat()));
                    let batch = nested(4, "firstBatch", &found.unwrap_or_default());
                    nested(3, "cursor", &[batch, text("ns", "butler.it")].concat())
                }
                b"delete" => {
                    let deleted = documents.lock().ok()?.remove(&find(&body, "_id")?);
                    integer("n", i32::from(deleted.is_some()))
                }
                _ => refusal(59, "no such command"),
            };
            let ok = if answer.starts_with(b"\x10code\0") { 0.0 } else { 1.0_f64 };
            let ok = [&b"\x01ok\0"[..], &ok.to_le_bytes()].concat();
            let document = document(&[answer, ok].concat());
            let mut message = Vec::new();
            for number in [i32::try_from(document.len() + 21).ok()?, 1] {
                message.extend(number.to_le_bytes());
            }
            message.extend(&head[4..8]);
            message.extend([2013_i32.to_le_bytes(), [0; 4]].concat());
            message.push(0);
            message.extend(document);
            stream.write_all(&message).ok()?;
        }
    })
}

fn payload(body: &[u8]) -> Option<String> {
    let start = body.windows(9).position(|window| window == b"\x05payload\0")? + 9;
    let length = u32::from_le_bytes(body.get(start..start + 4)?.try_into().ok()?) as usize;
    String::from_utf8(body.get(start + 5..start + 5 + length)?.to_vec()).ok()
}

/// The text of a key, wherever in the document it stands.
fn find(body: &[u8], name: &str) -> Option<String> {
    let key = [&[2], name.as_bytes(), &[0]].concat();
    let start = body.windows(key.len()).position(|window| window == key)? + key.len();
    let length = u32::from_le_bytes(body.get(start..start + 4)?.try_into().ok()?) as usize;
    String::from_utf8(body.get(start + 4..start + 3 + length)?.to_vec()).ok()
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), &[0], value].concat()
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a short message").to_le_bytes()
}

fn document(content: &[u8]) -> Vec<u8> {
    [&length(content.len() + 5)[..], content, &[0]].concat()
}

fn nested(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    element(kind, name, &document(content))
}

fn boolean(name: &str, value: bool) -> Vec<u8> {
    element(8, name, &[u8::from(value)])
}

fn integer(name: &str, value: i32) -> Vec<u8> {
    element(16, name, &value.to_le_bytes())
}

fn text(name: &str, value: &str) -> Vec<u8> {
    element(2, name, &[&length(value.len() + 1)[..], value.as_bytes(), &[0]].concat())
}

fn sasl(said: &str, done: bool) -> Vec<u8> {
    let payload = element(5, "payload", &[&length(said.len())[..], &[0], said.as_bytes()].concat());
    [integer("conversationId", 1), boolean("done", done), payload].concat()
}

fn refusal(code: i32, message: &str) -> Vec<u8> {
    [integer("code", code), text("errmsg", message)].concat()
}
