//! What is known about PostgreSQL's files and protocol: formats, rules and one session. Nothing here knows a repository.

pub mod control;
pub(crate) mod files;
pub(crate) mod incremental;
pub(crate) mod inflate;
pub(crate) mod lsn;
pub(crate) mod manifest;
pub(crate) mod page;
pub(crate) mod recovery;
pub(crate) mod replication;
pub(crate) mod segment;
pub(crate) mod sent_manifest;
pub(crate) mod session;
pub(crate) mod tar;
pub(crate) mod timeline;

pub use files::Tablespace;
pub use lsn::{Lsn, SystemIdentifier};
pub use recovery::{RecoveryTarget, TargetAction, TargetTimeline};
pub use segment::{Cluster, SegmentSize};
