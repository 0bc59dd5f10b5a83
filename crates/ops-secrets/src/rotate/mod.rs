//! Secrets that change while the program runs.
//!
//! A [`Provider`] fetches one secret and says which version it is and how long it lives. A [`Group`] watches the providers
//! whose secrets must change together. One round of its watch goes: (1) fetch what is due, or what a file event or a refused
//! login asks for; (2) make everything known to the masker; (3) hand the candidate to `validate`, which tries it out; (4) swap
//! all of the group at once; (5) keep the old one, valid and masked, for a grace, then revoke its lease. Where any step before
//! the swap fails, nothing is swapped: the old secrets stay until they are stale, and the next try comes after a back-off.
//!
//! All of it is in memory. A crash leaves at most leases that nobody renews, and those end by themselves.
//!
//! [`change`] is the other side: it gives a secret a new value at its issuer, in steps that survive a crash, and publishes
//! it for the watchers. [`schedule`] says which secrets have to be rotated by when.
//!
//! ```
//! use ops_secrets::Masker;
//! use ops_secrets::rotate::{FileProvider, Group, Options};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("password");
//! # std::fs::write(&path, "first-password\n")?;
//! let masker = Masker::new();
//! let (live, watch) = Group::new(Options::default(), || 0.5)
//!     .member("database", FileProvider::new(&path))
//!     .masker(masker.clone())
//!     .validate(|candidate| {
//!         Box::pin(async move {
//!             // Open one connection with the new secret here.
//!             candidate.get("database", "value").map(drop).ok_or_else(|| "it has no value".into())
//!         })
//!     })
//!     .start()
//!     .await?;
//! let task = tokio::spawn(watch.run(std::future::pending()));
//!
//! let mut versions = live.subscribe();
//! assert_eq!(live.current()?.get("database", "value").map(|secret| secret.expose_secret().as_str()), Some("first-password"));
//! std::fs::write(&path, "second-password\n")?;
//! # live.refresh().await?;
//! let second = versions.next().await.ok_or("the watch has ended")?;
//! assert_eq!(second.get("database", "value").map(|secret| secret.expose_secret().as_str()), Some("second-password"));
//! assert_eq!(masker.mask_str("first-password second-password"), "[redacted] [redacted]");
//! # task.abort();
//! # Ok(())
//! # }
//! ```

pub mod change;
mod error;
mod events;
mod files;
mod live;
mod member;
mod pace;
mod provider;
pub mod schedule;
mod watch;

pub use error::{Error, ErrorKind};
pub use files::{FileProvider, FixedProvider, FolderProvider};
pub use live::{Health, Live, Snapshot, Subscription};
pub use pace::Options;
pub use provider::{Fetched, Lease, Provider, Work};
pub use watch::{Group, Refusal, Watch};
