//! What the roots keep, as far as it belongs to owners that are looked through.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::repo::gc::Roots;
use crate::repo::log::State;
use crate::repo::pack::PackTable;

/// So many manifests are read at once; each may describe a million files.
const AT_ONCE: usize = 4;

impl Repository {
    /// Returns the paths of the packs of `owners` that the manifests of `roots` name.
    ///
    /// # Errors
    /// `Corrupt` where a manifest cannot be read: nothing can be told from garbage then.
    pub(super) async fn packs_kept(
        &self,
        roots: &Roots,
        state: &State,
        owners: &BTreeSet<String>,
    ) -> Result<HashSet<String>> {
        if owners.is_empty() {
            return Ok(HashSet::new());
        }
        let ids = roots.backups.iter().cloned();
        // By value: a future that borrows an argument of its closure is not seen to be `Send`.
        let manifests = ids.map(|id| async move { self.packs_named(&id, state, owners).await });
        let named: Vec<Vec<String>> = stream::iter(manifests).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(named.into_iter().flatten().collect())
    }

    async fn packs_named(&self, id: &str, state: &State, owners: &BTreeSet<String>) -> Result<Vec<String>> {
        let expected = state.backups.get(id).map(|kept| &kept.backup.manifest);
        let table = PackTable::default();
        let manifest = match self.read_manifest(id, expected, &table).await {
            Ok(manifest) => manifest,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                let message = format!("cannot tell what backup {id} needs, so nothing can be given up");
                return Err(Error::corrupt(message).with_source(error));
            }
            Err(error) => return Err(error),
        };
        let packs = manifest.packs().into_iter().map(|used| table.get(used.pack));
        Ok(packs.filter(|pack| owners.contains(&pack.backup)).map(|pack| pack.path().to_string()).collect())
    }
}
