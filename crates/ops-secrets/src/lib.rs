//! Secrets and settings for programs that are operated: loaded from layered sources into a typed struct, told where they
//! came from, and masked wherever they turn up.
//!
//! The usual stack keeps a secret out of `Debug` and then prints it in an error: parsers quote what they could not read,
//! and loaders quote the parser. Here no error, warning or report holds a value, whatever was wrong with it.
//!
//! - [`Secret`] is a value that does not show itself.
//! - [`Loader`] fills a struct that derives `Deserialize` from defaults, TOML files, a [`Profile`], a `.env` file, mounted
//!   folders, systemd credentials, the environment, `*_FILE` variables and flags. [`Loaded`] has the settings and a
//!   [`Report`] of where each came from.
//! - A [`Reference`] such as `file:///run/secrets/db` or `vault://kv/shop/db#password` may stand in place of any secret, in
//!   any of these layers; [`References`] resolves it.
//! - [`Masker`] knows the secrets that were loaded and removes them from bytes, in every form that programs write them;
//!   [`MaskingWriter`] does so for a stream.
//! - [`Example`] is the `.env.example` of a settings type, and finds where the committed one has drifted.
//! - `vault` (feature) is a client for Vault and OpenBao, `aws` (feature) reads secrets of AWS, for references and on their own.
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

#[cfg(feature = "aws")]
pub mod aws;
mod error;
mod example;
mod file;
mod mask;
mod reference;
#[cfg(feature = "rotate")]
pub mod rotate;
#[cfg(feature = "scan")]
pub mod scan;
mod schema;
mod secret;
mod settings;
mod source;
mod suggest;
#[cfg(feature = "vault")]
pub mod vault;

pub use error::{Error, ErrorKind, Problem};
pub use example::{Drift, Example};
#[cfg(feature = "tokio")]
pub use mask::MaskingAsyncWriter;
pub use mask::{Masker, MaskingWriter, PanicHook, Registration, Unmasked};
pub use reference::{Document, Fetch, FetchError, Fetching, Reference, References, Scheme};
pub use secret::Secret;
pub use settings::{Entry, Loaded, Loader, Profile, Report, UnknownProfile};
pub use source::Warning;
