//! The judge: runs one statement in a transaction of a plain session, and asks the server what has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use ops_testkit::Postgres;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::corpus::Entry;

/// What became of a statement.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server does not know the syntax or the feature.
    Unknown,
    /// The role lacks a privilege, or a template made something that does not fit together.
    Refused,
    /// It is none that a transaction block takes.
    Alone,
    /// The entry is wrong, for this reason.
    Broken(String),
    /// It did these things.
    Ran(Vec<String>),
}

/// A session as superuser, without any guard.
pub(super) struct Session {
    url: String,
    client: Client,
    /// What holds before a statement, by role.
    before: BTreeMap<String, String>,
}

impl Session {
    pub(super) async fn open(postgres: &Postgres) -> Self {
        let url = postgres.url();
        let client = connect(&url).await;
        Self { url, client, before: BTreeMap::new() }
    }

    /// Returns for each table the tables that it is a part of.
    pub(super) async fn parents(&self) -> BTreeMap<String, Vec<String>> {
        let rows = self.client.simple_query(
            "WITH RECURSIVE up AS (SELECT inhrelid AS child, inhparent AS parent FROM pg_inherits \
             UNION SELECT up.child, i.inhparent FROM up JOIN pg_inherits AS i ON i.inhrelid = up.parent) \
             SELECT c.relnamespace::regnamespace::text || '.' || c.relname, p.relnamespace::regnamespace::text || '.' || p.relname \
             FROM up JOIN pg_class AS c ON c.oid = up.child JOIN pg_class AS p ON p.oid = up.parent",
        );
        let mut parents: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in rows.await.unwrap() {
            if let SimpleQueryMessage::Row(row) = message {
                parents.entry(row.get(0).unwrap().into()).or_default().push(row.get(1).unwrap().into());
            }
        }
        parents
    }

    /// Runs a statement and undoes it.
    pub(super) async fn run(&mut self, entry: &Entry, role: &str) -> Outcome {
        let begin = begin(role);
        if !self.before.contains_key(role) {
            let look = self.look_before(role).await;
            self.before.insert(role.to_owned(), look);
        }
        let (begun, before) = tokio::join!(self.client.simple_query(&begin), self.set_up(entry));
        begun.unwrap();
        let before = match before {
            Ok(before) => before,
            Err(error) => {
                self.client.simple_query(END).await.unwrap();
                return match error.code().map(tokio_postgres::error::SqlState::code) {
                    // An extension that is not there, or does not load.
                    Some("0A000" | "58P01") => Outcome::Unknown,
                    _ => Outcome::Broken(format!("{error:?}")),
                };
            }
        };
        // What a COPY sends and receives leaves no room for other messages: it goes first, the rest in one go.
        let late = "SET CONSTRAINTS ALL IMMEDIATE";
        let (ran, (late, after, end)) = if is_copy(entry) {
            let ran = self.statement(entry).await;
            if let Err(error) = ran {
                // The driver is one answer late from here on.
                self.client = connect(&self.url).await;
                return outcome(entry, &error);
            }
            let client = &self.client;
            (ran, tokio::join!(client.simple_query(late), self.look(), client.simple_query(END)))
        } else {
            let client = &self.client;
            let (ran, late, after, end) = tokio::join!(
                self.statement(entry),
                client.simple_query(late),
                self.look(),
                client.simple_query(END)
            );
            (ran, (late, after, end))
        };
        end.unwrap_or_else(|error| panic!("{}: {error:?}: {}", entry.place, entry.sql));
        if let Err(error) = ran.and(late.map(drop)) {
            return outcome(entry, &error);
        }
        let before = before.as_ref().unwrap_or(&self.before[role]);
        let after = match after {
            Ok(after) => after,
            Err(error) => return outcome(entry, &error),
        };
        let facts = difference(before, &after);
        // A sequence does not go back when its transaction does.
        if facts.iter().any(|fact| fact.starts_with("sequence ")) {
            self.before.clear();
        }
        Outcome::Ran(facts)
    }

    async fn look_before(&self, role: &str) -> String {
        let begin = begin(role);
        let (begun, look, end) =
            tokio::join!(self.client.simple_query(&begin), self.look(), self.client.simple_query(END));
        begun.unwrap();
        end.unwrap();
        look.unwrap()
    }

    /// Runs what must run before, and looks at what it has done.
    async fn set_up(&self, entry: &Entry) -> Result<Option<String>, tokio_postgres::Error> {
        if entry.setup.is_empty() {
            return Ok(None);
        }
        for sql in &entry.setup {
            self.client.simple_query(sql).await?;
        }
        self.look().await.map(Some)
    }

    async fn statement(&self, entry: &Entry) -> Result<(), tokio_postgres::Error> {
        if is_copy(entry) && entry.sql.contains("STDIN") {
            let mut sink = pin!(self.client.copy_in::<_, Bytes>(&entry.sql).await?);
            sink.send(Bytes::from(entry.data.clone().unwrap_or_default())).await?;
            sink.finish().await?;
            return Ok(());
        }
        if is_copy(entry) && entry.sql.contains("STDOUT") {
            let mut stream = pin!(self.client.copy_out(&entry.sql).await?);
            while let Some(chunk) = stream.next().await {
                chunk?;
            }
            return Ok(());
        }
        self.client.simple_query(&entry.sql).await.map(drop)
    }

    async fn look(&self) -> Result<String, tokio_postgres::Error> {
        let sql = "SELECT observe.look(current_user, session_user)";
        let answer = self.client.simple_query(sql).await?;
        let look = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(look.unwrap_or_default().to_owned())
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Ends the transaction, and what outlives one. The last call makes the server forget the rows that it counted.
const END: &str = "ROLLBACK; RESET SESSION AUTHORIZATION; RESET ALL; DEALLOCATE ALL; SELECT pg_advisory_unlock_all(); \
                   SELECT pg_stat_force_next_flush()";

fn is_copy(entry: &Entry) -> bool {
    entry.sql.starts_with("COPY")
}

fn begin(role: &str) -> String {
    let begin = "BEGIN; SET LOCAL statement_timeout = '20s'; SET LOCAL work_mem = '5MB'";
    if role == "super" { begin.to_owned() } else { format!("{begin}; SET LOCAL ROLE {role}") }
}

fn outcome(entry: &Entry, error: &tokio_postgres::Error) -> Outcome {
    let code = error.code().unwrap_or_else(|| panic!("{}: {error:?}: {}", entry.place, entry.sql)).code();
    match code {
        "25001" => Outcome::Alone,
        "42601" | "0A000" => Outcome::Unknown,
        "42501" => Outcome::Refused,
        _ if entry.made => Outcome::Refused,
        _ => Outcome::Broken(error.as_db_error().unwrap().message().to_owned()),
    }
}

/// Returns the facts that came, the settings that went, and for counters by how much they grew.
fn difference(before: &str, after: &str) -> Vec<String> {
    let old: BTreeSet<&str> = before.lines().collect();
    let new: BTreeSet<&str> = after.lines().collect();
    let came = new.iter().filter(|fact| !old.contains(*fact)).map(|fact| (*fact).to_owned());
    let went = old.iter().filter(|fact| fact.starts_with("setting ") && !new.contains(*fact));
    came.chain(went.map(|fact| format!("{fact} no more"))).collect()
}
