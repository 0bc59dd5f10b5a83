//! The second place of an audit log: a table, over a connection of its own.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio_postgres::Client;

use super::driver::Driver;
use super::failure::{connect_failure, failure};
use crate::audit::AuditSink;
use crate::connection::ConnectionSettings;
use crate::error::{Error, ErrorKind};
use crate::guard::quoted;

/// How long one line may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a line goes, and where its end is told.
type Line = (String, mpsc::Sender<Result<(), Error>>);

/// Stores the lines of an audit log in a table too, each durable before the statement that it announces is sent.
///
/// The table has a column `line text`; a role that may only insert into it, and that the guarded application does not have, is
/// enough: `CREATE TABLE audit_lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, line text NOT NULL)`. Hand it to
/// [`AuditLogOptions::sink`](crate::audit::AuditLogOptions::sink).
#[derive(Debug)]
pub struct AuditTable {
    lines: mpsc::Sender<Line>,
}

impl AuditTable {
    /// Opens a session for the table, on a thread of its own: an audit log is written by threads that wait.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Server`] where there is no session, or the role may not insert.
    pub fn connect(settings: &ConnectionSettings, schema: &str, table: &str) -> Result<Self, Error> {
        let (lines, incoming) = mpsc::channel::<Line>();
        let (opened, open) = mpsc::channel();
        let settings = settings.clone();
        let insert = format!("INSERT INTO {}.{} (line) VALUES ($1)", quoted(schema), quoted(table));
        let thread = thread::Builder::new().name("audit-table".into());
        let spawned = thread.spawn(move || keep(&settings, &insert, &incoming, &opened));
        spawned.map_err(|error| Error::new(ErrorKind::Io, "audit table has no thread").caused_by(error))?;
        open.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { lines })
    }
}

impl AuditSink for AuditTable {
    fn append(&self, line: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (told, end) = mpsc::channel();
        self.lines.send((line.to_owned(), told)).map_err(|_| gone())?;
        match end.recv_timeout(PATIENCE) {
            Ok(stored) => Ok(stored?),
            Err(_) => Err(gone().into()),
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "audit table does not answer")
}

/// The thread: one session, one line after the other, until nobody has lines any more.
fn keep(
    settings: &ConnectionSettings,
    insert: &str,
    incoming: &mpsc::Receiver<Line>,
    opened: &mpsc::Sender<Result<(), Error>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = Error::new(ErrorKind::Io, "audit table has no runtime").caused_by(error);
            drop(opened.send(Err(failed)));
            return;
        }
    };
    let target = settings.target();
    let (client, statement, _driver) = match runtime.block_on(open(settings, insert, &target)) {
        Ok(session) => session,
        Err(error) => {
            drop(opened.send(Err(error)));
            return;
        }
    };
    drop(opened.send(Ok(())));
    for (line, told) in incoming {
        let stored = runtime.block_on(client.execute(&statement, &[&line]));
        // Whoever waited may have lost patience.
        drop(told.send(stored.map(drop).map_err(|error| failure("store an audit line", &target, error))));
    }
}

async fn open(
    settings: &ConnectionSettings,
    insert: &str,
    target: &str,
) -> Result<(Client, tokio_postgres::Statement, Driver), Error> {
    let connected = settings.config().connect(settings.tls()?).await;
    let (client, connection) = connected.map_err(|error| connect_failure(target, error))?;
    let (driver, _) = Driver::spawn(connection);
    let fail = |error| failure("open the audit table", target, error);
    let pins = "SET synchronous_commit = on; SET statement_timeout = '5s'; SET lock_timeout = '5s'";
    client.batch_execute(pins).await.map_err(fail)?;
    let statement = client.prepare(insert).await.map_err(fail)?;
    Ok((client, statement, driver))
}
