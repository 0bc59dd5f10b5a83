//! A store that fails where it is told to: in front of any other store.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use ops_backup::ErrorKind;

/// What happens at one operation: a put, a get (or a look), a list, or the deletion of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, once.
    Fail,
    /// It and all later ones fail.
    Break,
    /// It is never answered, and never done; once.
    Hang,
    /// It is done, but its answer is lost; once.
    LoseAnswer,
    /// It is done, and it and all later ones seem to fail: as when the process, or its network, dies right after it.
    BreakAfter,
    /// The body that it reads ends after half of it, as if that were all; once.
    Truncate,
    /// The body that it reads breaks off after half of it; once.
    Reset,
    /// The body that it reads has one bit flipped; once.
    Flip,
    /// There is no room: it and all later writes fail, until [`FaultyStore::mend`].
    Full,
    /// The process dies before it.
    AbortBefore,
    /// The process dies after it.
    AbortAfter,
    /// Every list lacks what was written since this store was made.
    StaleLists,
    /// What was there when this store was made looks two hours old.
    Aged,
    /// A store that overwrites although it must not.
    Overwrite,
}

impl Fault {
    /// Whether `error` may be its report: never an absent repository, a wrong key, a conflict.
    pub(crate) fn is_told_by(self, error: &ops_backup::Error) -> bool {
        match error.kind() {
            ErrorKind::Storage => true,
            ErrorKind::NoSpace => self == Fault::Full,
            ErrorKind::Corrupt => self == Fault::Flip,
            _ => false,
        }
    }

    /// All that one operation can meet without lasting damage to what is stored.
    pub(crate) const PASSING: [Fault; 8] = [
        Fault::Fail,
        Fault::Break,
        Fault::Hang,
        Fault::LoseAnswer,
        Fault::BreakAfter,
        Fault::Truncate,
        Fault::Reset,
        Fault::Flip,
    ];

    /// Whether an operation that is tried again must succeed.
    pub(crate) fn is_overcome(self) -> bool {
        !matches!(self, Fault::Break | Fault::BreakAfter | Fault::Flip | Fault::Full)
    }
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    at: AtomicUsize,
    operations: AtomicUsize,
    broken: AtomicBool,
    /// What was there when this store was made, where that matters.
    old: BTreeSet<Path>,
}

/// What an operation has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Normal,
    Here,
    Broken,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(FaultyStore { at: AtomicUsize::new(at), ..FaultyStore::plain(&inner, fault) })
    }

    fn plain(inner: &Arc<dyn ObjectStore>, fault: Fault) -> Self {
        FaultyStore {
            inner: Arc::clone(inner),
            fault,
            at: AtomicUsize::new(usize::MAX),
            operations: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            old: BTreeSet::new(),
        }
    }

    /// A store whose lists show nothing that is written from now on.
    pub(crate) async fn with_stale_lists(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        FaultyStore::knowing_its_age(inner, Fault::StaleLists).await
    }

    /// A store in which everything looks as if two hours had passed, so that the jobs of processes that are gone look dead.
    pub(crate) async fn aged(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        FaultyStore::knowing_its_age(inner, Fault::Aged).await
    }

    async fn knowing_its_age(inner: Arc<dyn ObjectStore>, fault: Fault) -> Arc<Self> {
        let old = inner.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
        let store = FaultyStore::new(inner, fault, usize::MAX);
        Arc::new(FaultyStore { old, ..Arc::into_inner(store).unwrap() })
    }

    fn date(&self, mut object: ObjectMeta) -> ObjectMeta {
        if self.fault == Fault::Aged && self.old.contains(&object.location) {
            object.last_modified -= Duration::from_secs(2 * 60 * 60);
        }
        object
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations.load(Ordering::SeqCst)
    }

    /// Counts from here: the fault comes `at` operations later.
    pub(crate) fn arm(&self, at: usize) {
        self.operations.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    /// Counts an operation, and says whether the fault is here.
    fn count(&self) -> Course {
        let here = self.operations.fetch_add(1, Ordering::SeqCst) == self.at.load(Ordering::SeqCst);
        let was_broken = self.broken.load(Ordering::SeqCst);
        if here && matches!(self.fault, Fault::Break | Fault::BreakAfter | Fault::Full) {
            self.broken.store(true, Ordering::SeqCst);
        }
        match (was_broken, here) {
            (true, _) => Course::Broken,
            (_, true) => Course::Here,
            _ => Course::Normal,
        }
    }

    /// Runs an operation that is no read of a body.
    async fn run<T>(&self, is_write: bool, work: impl Future<Output = Result<T>>) -> Result<T> {
        match (self.count(), self.fault) {
            (Course::Here | Course::Broken, Fault::Full) if is_write => Err(full()),
            (Course::Broken, Fault::Break | Fault::BreakAfter)
            | (Course::Here, Fault::Fail | Fault::Break) => Err(injected()),
            (Course::Here, Fault::Hang) => std::future::pending().await,
            (Course::Here, Fault::LoseAnswer | Fault::BreakAfter) => {
                work.await?;
                Err(injected())
            }
            (Course::Here, Fault::AbortBefore) => std::process::abort(),
            (Course::Here, Fault::AbortAfter) => {
                let _ = work.await;
                std::process::abort();
            }
            _ => work.await,
        }
    }
}

fn injected() -> Error {
    Error::Generic { store: "FaultyStore", source: "injected".into() }
}

fn full() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    Error::Generic { store: "FaultyStore", source: Box::new(source) }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if self.fault == Fault::Overwrite {
            options.mode = PutMode::Overwrite;
        }
        self.run(true, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.run(true, self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let before = self.operations();
        let mut result = self.run(false, self.inner.get_opts(location, options)).await?;
        result.meta = self.date(result.meta);
        let damaged = matches!(self.fault, Fault::Truncate | Fault::Reset | Fault::Flip);
        if head || !damaged || before != self.at.load(Ordering::SeqCst) {
            return Ok(result);
        }
        let (meta, range, attributes) =
            (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let extensions = result.extensions.clone();
        let body = result.bytes().await?;
        let half = body.len() / 2;
        let parts = match self.fault {
            Fault::Truncate => vec![Ok(body.slice(..half))],
            Fault::Reset => vec![Ok(body.slice(..half)), Err(injected())],
            _ => {
                let mut body = body.to_vec();
                if let Some(byte) = body.get_mut(half) {
                    *byte ^= 0x10;
                }
                vec![Ok(Bytes::from(body))]
            }
        };
        let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // One by one, as the crate deletes.
        let course = self.count();
        let deleted = self.inner.delete_stream(locations);
        match (course, self.fault) {
            (Course::Broken, Fault::Break | Fault::BreakAfter)
            | (Course::Here, Fault::Fail | Fault::Break) => stream::once(async { Err(injected()) }).boxed(),
            (Course::Here, Fault::Hang) => stream::pending().boxed(),
            (Course::Here, Fault::LoseAnswer | Fault::BreakAfter) => {
                deleted.and_then(|_| async { Err(injected()) }).boxed()
            }
            (Course::Here, Fault::AbortBefore) => std::process::abort(),
            (Course::Here, Fault::AbortAfter) => deleted.map(|_| std::process::abort()).boxed(),
            _ => deleted,
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        match (self.count(), self.fault) {
            (_, Fault::StaleLists) => {
                let known = self.old.clone();
                listed.try_filter(move |object| std::future::ready(known.contains(&object.location))).boxed()
            }
            (_, Fault::Aged) => {
                let old =
                    FaultyStore { old: self.old.clone(), ..FaultyStore::plain(&self.inner, Fault::Aged) };
                listed.map_ok(move |object| old.date(object)).boxed()
            }
            (Course::Broken, Fault::Break | Fault::BreakAfter)
            | (Course::Here, Fault::Fail | Fault::Break) => stream::once(async { Err(injected()) }).boxed(),
            (Course::Here, Fault::Hang) => stream::pending().boxed(),
            (Course::Here, Fault::LoseAnswer | Fault::BreakAfter | Fault::Reset) => {
                listed.take(1).chain(stream::once(async { Err(injected()) })).boxed()
            }
            (Course::Here, Fault::AbortBefore | Fault::AbortAfter) => std::process::abort(),
            _ => listed,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut result = self.run(false, self.inner.list_with_delimiter(prefix)).await?;
        if self.fault == Fault::StaleLists {
            result.objects.retain(|object| self.old.contains(&object.location));
            result.common_prefixes.retain(|prefix| self.old.iter().any(|path| path.prefix_matches(prefix)));
        }
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run(true, self.inner.copy_opts(from, to, options)).await
    }
}
