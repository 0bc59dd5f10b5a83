//! PostgreSQL as the issuer of passwords.
//!
//! The server gets a SCRAM verifier that is computed here, so its log, `pg_stat_statements` and whoever listens never have the
//! password. A login counts as proof only where a wrong password is refused from the same place.

use ops_core::connection::ConnectionSettings;
use ops_secrets::Secret;
use ops_secrets::rotate::change::Target;
use ops_secrets::rotate::{Error, ErrorKind, Work};
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, and a role on it that may change passwords.
pub(crate) struct Postgres {
    settings: ConnectionSettings,
}

impl Postgres {
    pub(crate) fn new(settings: ConnectionSettings) -> Self {
        Self { settings }
    }

    /// Connects as the administrator, or as an account with its password.
    async fn connect(&self, account: Option<(&str, &str)>) -> Result<Client, Error> {
        let target = self.settings.target();
        let mut config = self.settings.config();
        config.connect_timeout(PATIENCE);
        if let Some((user, password)) = account {
            config.user(user).password(password);
        }
        let who = account.map_or_else(String::new, |(user, _)| format!(" as {user}"));
        let tls = self.settings.tls().map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
        let failed = |error: tokio_postgres::Error| {
            let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
            let kind = match error.code() {
                Some(code) if refused.contains(code) => ErrorKind::Refused,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("no login{who} at {target}: {}", cause(&error)))
        };
        let connected = tokio::time::timeout(PATIENCE, config.connect(tls)).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("no login{who} at {target}: no answer in time"))
        })?;
        let (client, connection) = connected.map_err(failed)?;
        // It ends with the client.
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Target for Postgres {
    fn name(&self) -> String {
        self.settings.target()
    }

    fn check<'a>(&'a self, account: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            let client = self.connect(None).await?;
            let sql = "SELECT rolcanlogin, coalesce(rolvaliduntil <= now(), false) FROM pg_roles WHERE rolname = $1";
            let row = client
                .query_opt(sql, &[&account])
                .await
                .map_err(|error| failed("look at", account, &error))?;
            let Some(row) = row else {
                return Err(Error::new(
                    ErrorKind::Missing,
                    format!("{} has no role `{account}`", self.name()),
                ));
            };
            let (logs_in, expired): (bool, bool) = (row.get(0), row.get(1));
            match (logs_in, expired) {
                (true, false) => Ok(()),
                (false, _) => Err(Error::new(ErrorKind::Invalid, format!("role `{account}` may not log in"))),
                (_, true) => Err(Error::new(
                    ErrorKind::Invalid,
                    format!("the password of role `{account}` has expired: VALID UNTIL"),
                )),
            }
        })
    }

    fn set<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()> {
        Box::pin(async move {
            let client = self.connect(None).await?;
            let verifier = postgres_protocol::password::scram_sha_256(value.expose_secret().as_bytes());
            let role = account.replace('"', "\"\"");
            // Utility statements take no parameters; a verifier has neither quotes nor backslashes.
            let sql = format!("ALTER ROLE \"{role}\" PASSWORD '{verifier}'");
            client.batch_execute(&sql).await.map_err(|error| failed("change", account, &error))
        })
    }

    fn verify<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()> {
        Box::pin(async move {
            let password = value.expose_secret();
            let client = self.connect(Some((account, password))).await?;
            let row = client.query_one("SELECT session_user::text", &[]).await;
            let user: String = row.map_err(|error| failed("ask", account, &error))?.get(0);
            if user != account {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("a login as `{account}` becomes `{user}`"),
                ));
            }
            match self.connect(Some((account, &format!("{password}-not")))).await {
                Err(error) if error.kind() == ErrorKind::Refused => Ok(()),
                Err(error) => Err(error),
                Ok(_) => {
                    let message = format!(
                        "{} takes any password of `{account}` from here, so a login proves nothing",
                        self.name()
                    );
                    Err(Error::new(ErrorKind::Invalid, message))
                }
            }
        })
    }
}

fn failed(what: &str, account: &str, error: &tokio_postgres::Error) -> Error {
    let kind = match error.code() {
        Some(_) => ErrorKind::Refused,
        None => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {what} role `{account}`: {}", cause(error)))
}

/// The server's own message, else what went wrong on the way; neither holds a password.
fn cause(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => server.message().to_owned(),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string),
    }
}
