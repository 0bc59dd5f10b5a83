//! A directory with a key pair and envelopes.

use ops_core::evidence::{Envelope, Record, SigningKey};
use std::path::PathBuf;
use tempfile::TempDir;

pub(crate) struct Store {
    directory: TempDir,
    pub(crate) key: SigningKey,
}

impl Store {
    pub(crate) fn new() -> Self {
        let store = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            key: SigningKey::generate().expect("randomness"),
        };
        store.key.verifying_key().write_file(&store.path("key.pem")).expect("a key file");
        store
    }

    pub(crate) fn directory(&self) -> String {
        self.directory.path().display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, record: &Record) {
        self.write(name, &Envelope::sign(record, &self.key).expect("a sound record").to_json());
    }

    /// As [`Store::put`], signed by somebody else.
    pub(crate) fn forge(&self, name: &str, record: &Record) {
        let stranger = SigningKey::generate().expect("randomness");
        self.write(name, &Envelope::sign(record, &stranger).expect("a sound record").to_json());
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file");
    }
}
