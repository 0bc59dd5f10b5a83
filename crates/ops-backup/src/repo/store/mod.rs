//! What stands between the repository and an object store: how long is waited, what is tried again, how fast.
//!
//! ```text
//! Repository ─► Resilient ─► (Throttle) ─► (StorageClass) ─► client of the store
//! ```
//! - [`Resilient`] is in front of every store, whoever made it. It alone tries again; the clients of object_store are set
//!   never to, so that attempts do not multiply. It also ends what makes no progress, so that no store can hang a job.
//! - [`Throttle`] keeps to a rate. The time that it makes others wait is taken off nobody's [`Patience`].
//!
//! Nothing here knows what an object holds. Whether a `put` whose answer was lost has happened is decided above, by
//! content: see `repo/object.rs`.

#[cfg(feature = "s3")]
pub(super) mod class;
pub(super) mod directory;
mod patience;
mod policy;
mod resilient;
pub(super) mod throttle;

pub use policy::RetryPolicy;
pub(super) use resilient::Resilient;
