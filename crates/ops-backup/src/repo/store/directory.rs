//! A directory as a store: durable, private, and cleaned of what crashes left.
//!
//! An object is written beside its name (`<name>#1`), made durable, and linked to its name. A crash in between leaves the
//! file with the mark; no list shows it and no name reaches it. The first deletion of a job (so: never a backup's or a
//! reader's work, only that of one who may delete) removes such files that are a day old. A day: a younger one may be
//! the write of another process, which would then fail.
//!
//! Whoever lives long may see the file system go from under the directory. What is then at its path is another directory or
//! none: nothing is absent because it is not there, and nothing written there would be durable. Both are errors.

use std::fmt;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A younger leftover may be a write that is under way.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory of a file system.
#[derive(Debug)]
pub(crate) struct Directory {
    inner: LocalFileSystem,
    root: PathBuf,
    /// Device and inode of the root when it was opened.
    identity: (u64, u64),
    cleaned: Arc<AtomicBool>,
}

impl Directory {
    /// Creates `root`, for its owner alone, where its parent exists: a backup holds what the database keeps from others.
    pub(crate) fn create(root: &FilePath) -> std::io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(root)
    }

    pub(crate) fn open(root: &FilePath) -> Result<Self> {
        // Success means durable: without `fsync` the system would keep objects in memory for a while.
        let inner = LocalFileSystem::new_with_prefix(root)?.with_fsync(true).with_automatic_cleanup(true);
        let identity = identity(root)?;
        Ok(Directory { inner, root: root.to_owned(), identity, cleaned: Arc::default() })
    }

    /// # Errors
    /// Where the directory that was opened is not at its path any more.
    fn is_here(&self) -> Result<()> {
        if identity(&self.root)? == self.identity {
            return Ok(());
        }
        let gone = std::io::Error::other("another directory is in its place: was its file system unmounted?");
        Err(unreachable(&self.root, gone))
    }
}

fn identity(root: &FilePath) -> Result<(u64, u64)> {
    let root_now = std::fs::metadata(root).map_err(|error| unreachable(root, error))?;
    Ok((root_now.dev(), root_now.ino()))
}

fn unreachable(root: &FilePath, cause: std::io::Error) -> object_store::Error {
    let source = format!("the repository directory {} is gone: {cause}", root.display());
    object_store::Error::Generic { store: "directory", source: source.into() }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the directory {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.is_here()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.is_here()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.inner.get_opts(location, options).await {
            Err(absent @ object_store::Error::NotFound { .. }) => Err(self.is_here().err().unwrap_or(absent)),
            result => result,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let deleted = self.inner.delete_stream(locations);
        if self.cleaned.swap(true, Ordering::Relaxed) {
            return deleted;
        }
        let root = self.root.clone();
        let clean = async move {
            let before = SystemTime::now().checked_sub(LEFTOVER_AGE);
            let task = move || before.map_or(0, |before| remove_leftovers(&root, before));
            match tokio::task::spawn_blocking(task).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed files that unfinished writes had left"),
                Err(error) => tracing::warn!(%error, "leftovers could not be looked for"),
            }
        };
        stream::once(clean).filter_map(|()| std::future::ready(None)).chain(deleted).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.is_here() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.is_here()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Removes the leftovers below `directory` that were last written before `before`, and returns their number.
///
/// What cannot be looked at or removed stays: it takes room and nothing else.
fn remove_leftovers(directory: &FilePath, before: SystemTime) -> u64 {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        // Not of the target of a link: what is outside of the repository is none of our business.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            removed += remove_leftovers(&entry.path(), before);
        } else if meta.is_file()
            && entry.file_name().to_str().is_some_and(is_leftover)
            && meta.modified().is_ok_and(|modified| modified < before)
            && std::fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    removed
}

/// The names of unfinished writes: those that `LocalFileSystem` keeps for itself.
fn is_leftover(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(object, number)| {
        !object.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;

    use futures_util::TryStreamExt as _;
    use object_store::ObjectStoreExt as _;

    use super::*;

    /// As when the disk is unmounted under a process that goes on: nothing is absent then, and nothing is stored.
    #[tokio::test]
    async fn a_directory_that_is_gone_is_an_error_and_never_an_empty_one() {
        let parent = tempfile::tempdir().unwrap();
        let (root, away) = (parent.path().join("repository"), parent.path().join("away"));
        Directory::create(&root).unwrap();
        let store = Directory::open(&root).unwrap();
        let (known, new) = (Path::from("a/known"), Path::from("a/new"));
        store.put(&known, "x".into()).await.unwrap();
        std::fs::rename(&root, &away).unwrap();
        for other_in_its_place in [false, true] {
            if other_in_its_place {
                Directory::create(&root).unwrap();
            }
            for error in [
                store.put(&new, "x".into()).await.unwrap_err(),
                store.get(&known).await.unwrap_err(),
                store.head(&new).await.unwrap_err(),
                store.list_with_delimiter(None).await.unwrap_err(),
                store.list(None).try_collect::<Vec<_>>().await.unwrap_err(),
            ] {
                assert!(matches!(error, object_store::Error::Generic { .. }), "{error}");
                assert!(error.to_string().contains("is gone"), "{error}");
            }
        }
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "something was written in the wrong place");
        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&away, &root).unwrap();
        store.put(&new, "x".into()).await.unwrap();
        assert!(matches!(store.get(&Path::from("b")).await, Err(object_store::Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn old_leftovers_go_with_the_first_deletion_and_nothing_else_does() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("repository");
        Directory::create(&root).unwrap();
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        let store = Directory::open(&root).unwrap();
        let put = async |path: &str| store.put(&Path::from(path), "x".into()).await.unwrap();
        put("packs/a/kept").await;
        put("packs/a/gone").await;
        let old = SystemTime::now() - 2 * LEFTOVER_AGE;
        let file = |name: &str, old: Option<SystemTime>| {
            let file = File::create(root.join(name)).unwrap();
            if let Some(old) = old {
                file.set_modified(old).unwrap();
            }
        };
        file("packs/a/old#1", Some(old));
        file("packs/a/young#2", None);
        file("packs/a/foreign#x", Some(old));
        File::options().write(true).open(root.join("packs/a/kept")).unwrap().set_modified(old).unwrap();
        store.delete(&Path::from("packs/a/gone")).await.unwrap();
        let mut left: Vec<_> = std::fs::read_dir(root.join("packs/a"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["foreign#x", "kept", "young#2"]);
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        let listed: Vec<_> = listed.iter().map(|object: &ObjectMeta| object.location.as_ref()).collect();
        assert!(!listed.iter().any(|name| name.contains("young")), "{listed:?}");
    }
}
