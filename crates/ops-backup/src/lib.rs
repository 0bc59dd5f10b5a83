//! ops-backup.
