//! `kind = "mongodb"`: logs in to MongoDB, and asks whether it is up, what it is in its replica set, and takes a write.
//!
//! The wire protocol by hand (MongoDB documentation, "OP_MSG"): a handful of commands, and a log-in by SCRAM-SHA-256.

mod bson;

use super::net::{Schemes, Target, Wire, trust, wrong_url};
use super::scram::{First, Hash};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A MongoDB server that must answer commands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mongodb {
    /// The address of one server, `mongodb://[user@]host[:port]/database`; `authSource` and `tls=true` are read from it.
    pub url: Text,
    /// The password, as `${secret:NAME}` or `${env:NAME}`. The log-in is by SCRAM-SHA-256.
    pub password: Option<Text>,
    /// Whether it must take writes: a primary, a server on its own, or a router.
    #[serde(default)]
    pub primary: bool,
    /// The replica set that it must be in.
    pub replica_set: Option<Text>,
    /// Whether to write: a document with a random id in `ops_gates_canary` of the database, which is read back and deleted.
    #[serde(default)]
    pub write_canary: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

const SCHEMES: &Schemes = &[("mongodb", false, 27017)];
const COLLECTION: &str = "ops_gates_canary";

impl Gate for Mongodb {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        wrong_url(&self.url, self.password.as_ref(), SCHEMES)
    }

    fn summary(&self) -> String {
        format!("MongoDB at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

/// A session with a server.
struct Session {
    wire: Wire,
    request: i32,
}

impl Mongodb {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let target = Target::of(context, &self.url, self.password.as_ref(), SCHEMES)?;
        let option = |name: &str| {
            let found = target.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let tls = [option("tls"), option("ssl")].contains(&Some("true"));
        let mut wire = Wire::open_place(context, &target.place, false, None).await?;
        if tls {
            wire = wire.secured(&trust(context, self.ca_file.as_ref())?, &target.place).await?;
        }
        let mut session = Session { wire, request: 0 };
        let hello = session.ask("admin", &[("hello", json!(1))]).await?;
        let database = if target.path.is_empty() { "test" } else { &target.path };
        if let Some(user) = &target.user {
            let fallback = if target.path.is_empty() { "admin" } else { database };
            let source = option("authSource").unwrap_or(fallback);
            session.log_in(source, user, target.password.as_deref().unwrap_or_default()).await?;
        }
        session.ask("admin", &[("ping", json!(1))]).await?;
        let what = self.judge(context, &hello, &session.wire.place)?;
        let mut finding = Finding::pass(format!("{} is {what}", session.wire.place));
        if self.write_canary {
            session.canary(database).await?;
            finding.reason.push_str(", and a write was read back");
        }
        Ok(finding)
    }

    fn judge(&self, context: &Context<'_>, hello: &Value, place: &str) -> Result<&'static str, Finding> {
        let is = |name: &str| hello.get(name) == Some(&Value::Bool(true));
        let set = hello.get("setName").and_then(Value::as_str);
        if let Some(wanted) = &self.replica_set {
            let wanted = context.resolve(wanted)?;
            if set != Some(&wanted) {
                let found = set.map_or_else(|| "no replica set".to_owned(), |set| format!("`{set}`"));
                return Err(Finding::fail(
                    "replica-set",
                    format!("{place} is in {found}, expected `{wanted}`"),
                ));
            }
        }
        let what = match (is("isWritablePrimary") || is("ismaster"), is("secondary"), is("arbiterOnly")) {
            (true, ..) if set.is_some() => "a primary",
            (true, ..) => "a server that takes writes",
            (_, true, _) => "a secondary",
            (_, _, true) => "an arbiter",
            // Starting, recovering or rolling back.
            _ => {
                let reason = format!("{place} is neither a primary nor a secondary");
                return Err(Finding::error(Fault::NotReady, "not-ready", reason));
            }
        };
        if self.primary && !is("isWritablePrimary") && !is("ismaster") {
            return Err(Finding::fail("not-primary", format!("{place} is {what}, and does not take writes")));
        }
        Ok(what)
    }
}

impl Session {
    /// Runs a command; its name is the first key.
    async fn ask(&mut self, database: &str, command: &[(&str, Value)]) -> Result<Value, Finding> {
        self.request += 1;
        let database = json!(database);
        let pairs = command.iter().map(|(name, value)| (*name, value)).chain([("$db", &database)]);
        let document = bson::encode(pairs);
        let mut message = Vec::new();
        let length = i32::try_from(document.len() + 21).unwrap_or(i32::MAX);
        for number in [length, self.request, 0, 2013, 0] {
            message.extend(number.to_le_bytes());
        }
        message.push(0);
        message.extend(document);
        self.wire.send(&message).await?;
        let head = self.wire.take(16).await?;
        let number = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(number(0)).unwrap_or(0);
        if number(8) != self.request || number(12) != 2013 || length < 21 {
            return Err(self.wire.strange("this is not MongoDB"));
        }
        let body = self.wire.take(length - 16).await?;
        let answer = body.get(5..).and_then(bson::decode).filter(|_| body.get(4) == Some(&0));
        let answer = answer.ok_or_else(|| self.wire.strange("an answer that is no document"))?;
        if answer.get("ok").and_then(Value::as_f64) == Some(1.0) {
            return Ok(answer);
        }
        Err(refused(&self.wire.place, &answer))
    }

    async fn log_in(&mut self, source: &str, user: &str, password: &str) -> Result<(), Finding> {
        let first = First::new(Hash::Sha256, user, password);
        let start = [
            ("saslStart", json!(1)),
            ("mechanism", json!("SCRAM-SHA-256")),
            ("payload", bson::binary(&first.message())),
            ("options", json!({ "skipEmptyExchange": true })),
        ];
        let answer = self.ask(source, &start).await?;
        let cheats = |wire: &Wire| wire.strange("the log-in was not answered as SCRAM demands");
        let payload = |answer: &Value| answer.get("payload").and_then(Value::as_str).map(str::to_owned);
        let last = payload(&answer).and_then(|payload| first.answer(&payload));
        let last = last.ok_or_else(|| cheats(&self.wire))?;
        let conversation = answer.get("conversationId").cloned().unwrap_or_else(|| json!(1));
        let go_on = |payload: Value| {
            [("saslContinue", json!(1)), ("conversationId", conversation.clone()), ("payload", payload)]
        };
        let mut answer = self.ask(source, &go_on(bson::binary(&last.message))).await?;
        if !payload(&answer).is_some_and(|payload| last.is_proven(&payload)) {
            return Err(cheats(&self.wire));
        }
        // A server that does not know of the option wants one more exchange.
        if answer.get("done") != Some(&Value::Bool(true)) {
            answer = self.ask(source, &go_on(bson::binary(""))).await?;
        }
        if answer.get("done") == Some(&Value::Bool(true)) { Ok(()) } else { Err(cheats(&self.wire)) }
    }

    async fn canary(&mut self, database: &str) -> Result<(), Finding> {
        let id = format!("{:032x}", rand::random::<u128>());
        let value = rand::random::<u32>().to_string();
        let insert = [("insert", json!(COLLECTION)), ("documents", json!([{ "_id": id, "value": value }]))];
        self.wrote(database, &insert).await?;
        let find = [("find", json!(COLLECTION)), ("filter", json!({ "_id": id })), ("limit", json!(1))];
        let read = self.ask(database, &find).await;
        let delete =
            [("delete", json!(COLLECTION)), ("deletes", json!([{ "q": { "_id": id }, "limit": 1 }]))];
        let deleted = self.wrote(database, &delete).await;
        let read = read?;
        let found = read.pointer("/cursor/firstBatch/0/value").and_then(Value::as_str);
        if found != Some(&value) {
            let reason = format!("{}: what was written was not read back", self.wire.place);
            return Err(Finding::fail("canary", reason));
        }
        deleted
    }

    /// Runs a command that must have changed exactly one document.
    async fn wrote(&mut self, database: &str, command: &[(&str, Value)]) -> Result<(), Finding> {
        let answer = self.ask(database, command).await?;
        if let Some(error) = answer.pointer("/writeErrors/0") {
            return Err(refused(&self.wire.place, error));
        }
        if let Some(error) = answer.get("writeConcernError") {
            return Err(refused(&self.wire.place, error));
        }
        if answer.get("n").and_then(Value::as_f64) == Some(1.0) {
            return Ok(());
        }
        let reason = format!("{}: a write changed nothing", self.wire.place);
        Err(Finding::fail("canary", reason))
    }
}

/// What the codes of the server mean (its `error_codes.yml`).
fn refused(place: &str, answer: &Value) -> Finding {
    let code = answer.get("code").and_then(Value::as_f64).unwrap_or(0.0);
    let said: String =
        answer.get("errmsg").and_then(Value::as_str).unwrap_or("no message").chars().take(200).collect();
    let reason = format!("{place}: {said} (code {code})");
    #[expect(clippy::cast_possible_truncation, reason = "codes are small whole numbers")]
    match code as i64 {
        // NotWritablePrimary, NotPrimaryNoSecondaryOk.
        10107 | 13435 => Finding::fail("read-only", reason),
        // ShutdownInProgress, PrimarySteppedDown, InterruptedAtShutdown, InterruptedDueToReplStateChange, NotPrimaryOrSecondary.
        91 | 189 | 11600 | 11602 | 13436 => Finding::error(Fault::NotReady, "not-ready", reason),
        // Unauthorized, AuthenticationFailed, MechanismUnavailable.
        13 | 18 | 334 => Finding::error(Fault::Tool, "refused", reason),
        _ => Finding::error(Fault::Tool, "command", reason),
    }
}
