//! Connection settings: how to reach a server, in the words of libpq, without ever showing the password.
//!
//! The settings give a [`tokio_postgres::Config`] and a TLS connector; whoever has a good reason for a plain session
//! (a backup, a probe) opens it with these two. An application uses the guarded client instead.
//!
//! ```
//! use ops_core::connection::ConnectionSettings;
//!
//! let settings = ConnectionSettings::parse("postgresql://app@db.example:5432/shop?sslmode=require")?
//!     .with_password("a % b ' c".into())
//!     .with_application("shop", None);
//! assert_eq!(settings.target(), "app@db.example:5432/shop");
//! let (config, tls) = (settings.config(), settings.tls()?);
//! # let _ = (config, tls);
//! # Ok::<(), ops_core::Error>(())
//! ```

mod end_point;
mod options;
mod tls;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

pub use tls::{Tls, TlsStream, TlsToHost};

use crate::error::Error;
use tls::Verification;

/// The longest `application_name` that a server keeps: `NAMEDATALEN` less one.
const APPLICATION_NAME_BYTES: usize = 63;

/// How to reach a server and as whom.
///
/// `sslmode` means:
/// - `disable`: never TLS.
/// - `prefer` (default): TLS where the server offers it, and nothing is verified. No protection from an attacker in the middle.
/// - `require`: TLS or no session. The certificate is verified only where `sslrootcert` is given.
/// - `verify-full`: TLS, and the certificate must come from `sslrootcert` and carry the host's name.
///
/// Where `sslrootcert` (a PEM file) is given, certificate and host name are always verified. `verify-ca` is not
/// supported. A unix socket never uses TLS.
///
/// `channel_binding` means what it means to libpq, and is the one protection from an attacker in the middle that needs no
/// certificate on this side:
/// - `prefer` (default): where TLS is spoken and the server offers `SCRAM-SHA-256-PLUS`, the password is proven for this
///   connection alone.
/// - `require`: so, or no session.
/// - `disable`: never.
#[derive(Clone)]
pub struct ConnectionSettings {
    config: Config,
    verification: Verification,
    trace_id: Option<String>,
}

impl ConnectionSettings {
    /// Reads a URL (`postgresql://user@host:port/db?key=value`) or a string of `key=value` pairs.
    ///
    /// Understood are the keys of [`tokio_postgres::Config`], and `sslrootcert`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSettings`](crate::ErrorKind::InvalidSettings). The message names a known key at most, never a value.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let options = options::parse(text)?;
        let mut config = options.config;
        let verification = tls::verification(options.sslmode.as_deref(), options.sslrootcert)?;
        config.ssl_mode(match options.sslmode.as_deref() {
            Some("disable") => SslMode::Disable,
            Some("require" | "verify-full") => SslMode::Require,
            _ => SslMode::Prefer,
        });
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(options::invalid("connection settings name no host"));
        }
        Ok(Self { config, verification, trace_id: None })
    }

    /// Sets the password. It may hold any character; one in the connection string is replaced.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        self.config.password(password.expose_secret());
        self
    }

    /// Names the session for whoever looks at `pg_stat_activity` or the server's log: `service/trace_id`.
    ///
    /// A long service name is cut so that the trace id stays whole.
    #[must_use]
    pub fn with_application(mut self, service: &str, trace_id: Option<&str>) -> Self {
        self.config.application_name(application_name(service, trace_id));
        self.trace_id = trace_id.map(str::to_owned);
        self
    }

    /// Returns the trace id that the session is named with.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// Returns `user@host:port/database`, for messages and logs.
    pub fn target(&self) -> String {
        let user = self.config.get_user().unwrap_or("(system user)");
        let host = match (self.config.get_hosts(), self.config.get_hostaddrs()) {
            ([Host::Tcp(name), ..], _) => name.clone(),
            ([Host::Unix(path), ..], _) => path.display().to_string(),
            ([], [address, ..]) => address.to_string(),
            ([], []) => String::new(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{user}@{host}:{port}/{database}")
    }

    /// Returns the settings for [`tokio_postgres::Config::connect`], with the password in them.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// Returns the connector that [`ConnectionSettings::config`] needs; where TLS is off it is never used.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSettings`](crate::ErrorKind::InvalidSettings) where the root certificate file cannot be used.
    pub fn tls(&self) -> Result<Tls, Error> {
        tls::connector(&self.verification)
    }
}

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("target", &self.target())
            .field("ssl_mode", &self.config.get_ssl_mode())
            .field("verification", &self.verification)
            .finish_non_exhaustive()
    }
}

fn application_name(service: &str, trace_id: Option<&str>) -> String {
    // The server replaces other bytes by `?`.
    let printable = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
    };
    let mut suffix = trace_id.map(|id| format!("/{}", printable(id))).unwrap_or_default();
    suffix.truncate(APPLICATION_NAME_BYTES);
    let mut name = printable(service);
    name.truncate(APPLICATION_NAME_BYTES - suffix.len());
    name + &suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_name_keeps_the_trace_id_whole() {
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(application_name("shop", None), "shop");
        assert_eq!(application_name("ops-guard", Some(trace_id)), format!("ops-guard/{trace_id}"));
        let long = application_name(&"ä".repeat(80), Some(trace_id));
        assert_eq!(long, format!("{}/{trace_id}", "?".repeat(30)));
        assert_eq!(application_name("s", Some(&"0".repeat(80))).len(), APPLICATION_NAME_BYTES);
    }

    #[test]
    fn the_target_and_debug_show_no_password() {
        let cases = [
            ("postgres://u:pa%25ss@h:6000/d", "u@h:6000/d"),
            ("host=/run/pg user=u password='pa%ss' dbname=d", "u@/run/pg:5432/d"),
            ("host=a,b port=1,2 user=u password=pa%ss", "u@a:1/u"),
            ("hostaddr=127.0.0.1 password=pa%ss", "(system user)@127.0.0.1:5432/"),
        ];
        for (text, target) in cases {
            let settings = ConnectionSettings::parse(text).unwrap();
            assert_eq!(settings.target(), target);
            assert_eq!(settings.config().get_password(), Some("pa%ss".as_bytes()), "{text}");
            assert!(!format!("{settings:?}").contains("ss\""), "{settings:?}");
            assert!(!format!("{settings:?}").contains("pa%"), "{settings:?}");
        }
    }
}
