//! A store in memory that fails where it is told to.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens at one operation, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, once.
    Fail,
    /// It and all later ones fail.
    Break,
    /// It is done, and its answer is lost.
    LoseAnswer,
    /// Each list misses some objects, every time others.
    Forget,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<InMemory>,
    fault: Fault,
    at: usize,
    operations: AtomicUsize,
    broken: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn new(inner: &Arc<InMemory>, fault: Fault, at: usize) -> Arc<Self> {
        let (operations, broken) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(FaultyStore { inner: Arc::clone(inner), fault, at, operations, broken })
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations.load(Ordering::SeqCst)
    }

    /// Counts an operation, and says whether it fails without being done.
    fn refuses(&self) -> bool {
        let here = self.operations.fetch_add(1, Ordering::SeqCst) == self.at;
        if here && matches!(self.fault, Fault::Break | Fault::LoseAnswer) {
            self.broken.store(true, Ordering::SeqCst);
        }
        match self.fault {
            Fault::Fail => here,
            Fault::Break => self.broken.load(Ordering::SeqCst),
            Fault::LoseAnswer | Fault::Forget => false,
        }
    }

    /// Passes on the answer, or loses it.
    fn answer<T>(&self, result: Result<T>) -> Result<T> {
        let loses = self.fault == Fault::LoseAnswer && self.broken.swap(false, Ordering::SeqCst);
        if loses { Err(injected()) } else { result }
    }

    fn is_seen(&self) -> bool {
        self.fault != Fault::Forget || !crate::repo::random().is_multiple_of(4)
    }
}

fn injected() -> Error {
    Error::Generic { store: "FaultyStore", source: "injected".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.refuses() {
            return Err(injected());
        }
        self.answer(self.inner.put_opts(path, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if self.refuses() {
            return Err(injected());
        }
        self.answer(self.inner.get_opts(path, options).await)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.refuses() {
            return Err(injected());
        }
        self.answer(self.inner.get_ranges(path, ranges).await)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // Each object is an operation: half of them can be gone.
        let (inner, refuses) = (Arc::clone(&self.inner), self.refuses());
        let loses = self.answer(Ok(())).is_err();
        if refuses {
            return stream::once(async { Err(injected()) }).boxed();
        }
        let deleted = inner.delete_stream(paths);
        let answer = move |(number, result)| if loses && number == 0 { Err(injected()) } else { result };
        deleted.enumerate().map(answer).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.refuses() || self.answer(Ok(())).is_err() {
            return stream::once(async { Err(injected()) }).boxed();
        }
        let seen: Vec<bool> = (0..10_000).map(|_| self.is_seen()).collect();
        let listed = self.inner.list(prefix).enumerate();
        listed.filter(move |(number, _)| std::future::ready(seen[*number])).map(|(_, object)| object).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.refuses() {
            return Err(injected());
        }
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|_| self.is_seen());
        self.answer(Ok(listed))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
