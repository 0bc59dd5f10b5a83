//! Restoring only some databases of a cluster: the files of the others become sparse files of zeros.
//!
//! A cluster cannot be cut apart: the shared catalog names all databases, and replay of WAL wants to find their files. So
//! each file of an unwanted database is there with its size, takes no room, and cannot be used: such a database must be
//! dropped once the server runs. `PG_VERSION` stays, without which the server would not even drop it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::catalog::{Database, PostgresBackup};

/// Databases with a lower number were made by initdb: `template0`, `template1` and `postgres`.
const FIRST_OF_USERS: u32 = 16384;

/// Which databases are restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// These, and those that initdb made.
    pub restored: Vec<Database>,
    /// The others that the backup names: empty shells, to be dropped once the server runs.
    pub to_drop: Vec<Database>,
    #[serde(skip)]
    wanted: BTreeSet<u32>,
}

impl Selection {
    /// Finds the databases that `names` (or numbers) mean; `None` where all are wanted.
    ///
    /// # Errors
    /// `NotFound` for a name that the backup does not know.
    pub(super) fn new(names: &[String], facts: &PostgresBackup) -> Result<Option<Self>> {
        if names.is_empty() {
            return Ok(None);
        }
        let mut wanted = BTreeSet::new();
        for name in names {
            let by_name =
                facts.databases.iter().find(|database| database.name == *name).map(|found| found.oid);
            match by_name.or_else(|| name.parse().ok()) {
                Some(oid) => wanted.insert(oid),
                None => return Err(unknown(name, facts)),
            };
        }
        let is_wanted = |database: &Database| database.oid < FIRST_OF_USERS || wanted.contains(&database.oid);
        let (restored, to_drop) = facts.databases.iter().cloned().partition(is_wanted);
        Ok(Some(Selection { restored, to_drop, wanted }))
    }

    /// Whether the content of the file at `path` is wanted.
    pub(super) fn wants(&self, path: &str) -> bool {
        let Some(oid) = database_of(path) else { return true };
        oid < FIRST_OF_USERS || self.wanted.contains(&oid) || path.ends_with("/PG_VERSION")
    }
}

fn unknown(name: &str, facts: &PostgresBackup) -> Error {
    let known: Vec<&str> = facts.databases.iter().map(|database| database.name.as_str()).collect();
    let message = if known.is_empty() {
        format!("the backup does not name its databases: give the number of {name:?} instead")
    } else {
        format!("the backup holds no database {name:?}; it holds {}", known.join(", "))
    };
    Error::new(ErrorKind::NotFound, message)
}

/// Returns the database that a path belongs to: `base/OID/…` or `pg_tblspc/OID/PG_…/OID/…`.
fn database_of(path: &str) -> Option<u32> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["base", oid, _, ..] => oid.parse().ok(),
        ["pg_tblspc", _, _, oid, _, ..] => oid.parse().ok(),
        _ => None,
    }
}

/// Returns the CRC-32C of `length` zero bytes.
pub(super) fn crc_of_zeros(length: u64) -> u32 {
    let mut crc = 0;
    let mut run = (crc32c::crc32c(&[0]), 1_usize);
    let mut left = length;
    while left > 0 {
        if left & 1 == 1 {
            crc = crc32c::crc32c_combine(crc, run.0, run.1);
        }
        left >>= 1;
        run = (crc32c::crc32c_combine(run.0, run.0, run.1), run.1.saturating_mul(2));
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_length_have_their_checksum() {
        for length in [0_u64, 1, 2, 3, 8192, 100_000] {
            let zeros = vec![0; usize::try_from(length).unwrap()];
            assert_eq!(crc_of_zeros(length), crc32c::crc32c(&zeros), "{length}");
        }
    }

    #[test]
    fn paths_tell_their_database() {
        for (path, expected) in [
            ("base/16390/1259", Some(16390)),
            ("base/16390/PG_VERSION", Some(16390)),
            ("base/16390", None),
            ("base/pgsql_tmp/x", None),
            ("global/1262", None),
            ("pg_tblspc/16385/PG_15_202209061/16390/16400.1", Some(16390)),
            ("pg_tblspc/16385/PG_15_202209061/16390", None),
        ] {
            assert_eq!(database_of(path), expected, "{path}");
        }
    }
}
