//! Secrets and settings for programs that are operated: loaded from layered sources into a typed struct, told where they
//! came from, and masked wherever they turn up.
//!
//! The usual stack keeps a secret out of `Debug` and then prints it in an error: parsers quote what they could not read,
//! and loaders quote the parser. Here no error, warning or report holds a value, whatever was wrong with it.
//!
//! - [`Secret`] is a value that does not show itself.
//! - [`Loader`] fills a struct that derives `Deserialize` from defaults, a TOML file, the environment, `*_FILE` variables
//!   and flags. [`Loaded`] has the settings and a [`Report`] of where each came from.
//! - [`Masker`] knows the secrets that were loaded and removes them from bytes, in every form that programs write them;
//!   [`MaskingWriter`] does so for a stream.
//! - [`Example`] is the `.env.example` of a settings type, and finds where the committed one has drifted.
//! - `rotate` (feature) keeps secrets fresh: leases are renewed, changes are seen, tried out and swapped for a whole group.
//! - `scan` (feature) finds secrets that stand in files, in what is staged, or anywhere in the history of a git repository.
//!
//! ```
//! use ops_secrets::{Loader, Masker, Secret};
//! use serde::Deserialize;
//!
//! #[derive(Debug, Deserialize)]
//! struct Settings {
//!     database: Database,
//! }
//!
//! #[derive(Debug, Deserialize)]
//! struct Database {
//!     host: String,
//!     port: u16,
//!     password: Secret,
//! }
//!
//! let masker = Masker::new();
//! let loaded = Loader::<Settings>::new()
//!     .defaults_toml("[database]\nhost = 'localhost'\nport = 5432")
//!     .env_vars("APP_", [("APP_DATABASE_PASSWORD".into(), "00123 'quoted'".into())])
//!     .flag("database.port", "6432", "--port")
//!     .masker(masker.clone())
//!     .load()?;
//!
//! assert_eq!(loaded.settings.database.port, 6432);
//! assert_eq!(loaded.settings.database.password.expose_secret(), "00123 'quoted'");
//!
//! let password = &loaded.report.entries()[2];
//! assert_eq!((password.value.as_str(), password.source.as_str()), ("[redacted]", "env APP_DATABASE_PASSWORD"));
//! assert_eq!(masker.mask_str("connecting with 00123 'quoted'"), "connecting with [redacted]");
//! # Ok::<(), ops_secrets::Error>(())
//! ```
//!
//! # Features
//!
//! None is on by default. `scan`: the scanner. `tokio`: `MaskingAsyncWriter`. `rotate`: the module
//! `rotate`, on tokio.
//!
//! What it does not promise: memory is wiped where this crate holds a secret, but not where the environment, a parser or
//! the kernel does.

mod error;
mod example;
mod mask;
#[cfg(feature = "rotate")]
pub mod rotate;
#[cfg(feature = "scan")]
pub mod scan;
mod schema;
mod secret;
mod settings;
mod source;

pub use error::{Error, ErrorKind, Problem};
pub use example::{Drift, Example};
#[cfg(feature = "tokio")]
pub use mask::MaskingAsyncWriter;
pub use mask::{Masker, MaskingWriter, PanicHook, Registration, Unmasked};
pub use secret::Secret;
pub use settings::{Entry, Loaded, Loader, Report};
pub use source::Warning;
