//! The one place where operations of a store are tried again.
//!
//! A body that breaks off is continued where it ended, with a ranged request; a list that breaks off begins anew, and
//! what was seen is left out. Uploads in parts are passed on as they are: nothing in this crate uses them.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use crate::repo::store::patience::Patience;
use crate::repo::store::policy::{RetryPolicy, Trial};

/// Deletions under way at once.
const DELETIONS: usize = 8;

/// A store that does not give up at the first failure, nor ever hangs.
#[derive(Debug, Clone)]
pub(crate) struct Resilient {
    inner: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
}

impl Resilient {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy) -> Self {
        Resilient { inner, policy }
    }

    async fn attempt<T, F: Future<Output = Result<T>>>(
        &self,
        operation: &str,
        path: &Path,
        bytes: u64,
        mut work: impl FnMut(Patience) -> F,
    ) -> Result<T> {
        let mut trial = Trial::new(self.policy);
        loop {
            let patience = Patience::new(self.policy.patience(bytes));
            match patience.limit(work(patience.clone())).await {
                Ok(value) => return Ok(value),
                Err(error) => trial.failed(operation, Some(path), error).await?,
            }
        }
    }

    /// A deletion that is repeated may find that it was done the first time.
    async fn delete_one(self, path: Path) -> Result<Path> {
        let mut trial = Trial::new(self.policy);
        loop {
            match Patience::new(self.policy.stall).limit(self.inner.delete(&path)).await {
                Err(Error::NotFound { .. }) if trial.is_repeated() => return Ok(path),
                Ok(()) => return Ok(path),
                Err(error) => trial.failed("delete", Some(&path), error).await?,
            }
        }
    }
}

impl fmt::Display for Resilient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Resilient {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        self.attempt("put", location, bytes, |patience| {
            let mut options = options.clone();
            options.extensions.insert(patience);
            self.inner.put_opts(location, payload.clone(), options)
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // The body comes with the patience of its request: what slows it down on purpose knows no other.
        let mut current = Patience::new(self.policy.stall);
        let get = |patience: Patience| {
            current = patience.clone();
            let mut options = options.clone();
            options.extensions.insert(patience);
            self.inner.get_opts(location, options)
        };
        let mut result = self.attempt("get", location, 0, get).await?;
        if !options.head {
            result.payload = match result.payload {
                GetResultPayload::Stream(stream) => {
                    let mut options = options;
                    options.if_match = result.meta.e_tag.clone().or(options.if_match);
                    options.extensions.insert(current.clone());
                    let body = Body {
                        store: self.clone(),
                        path: location.clone(),
                        options,
                        rest: result.range.clone(),
                        stream: Some(stream),
                        patience: current,
                        trial: Trial::new(self.policy),
                    };
                    GetResultPayload::Stream(body.into_stream())
                }
                // A file that is open: nothing that is tried again would read it better.
                file => file,
            };
        }
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move { store.delete_one(location?).await }
            })
            .buffered(DELETIONS)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = Listed {
            store: self.clone(),
            prefix: prefix.cloned(),
            stream: None,
            trial: Trial::new(self.policy),
            hasher: RandomState::new(),
            seen: HashSet::new(),
        };
        listed.into_stream()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let shown = prefix.cloned().unwrap_or_default();
        self.attempt("list", &shown, 0, |_| self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.attempt("copy", from, 0, |_| self.inner.copy_opts(from, to, options.clone())).await
    }
}

/// The rest of an object on its way.
struct Body {
    store: Resilient,
    path: Path,
    /// Those of the caller, for this very object and no other that may take its place.
    options: GetOptions,
    rest: Range<u64>,
    stream: Option<BoxStream<'static, Result<Bytes>>>,
    patience: Patience,
    trial: Trial,
}

impl Body {
    fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, async |mut body| {
            while !body.rest.is_empty() {
                body.patience.renew(body.store.policy.stall);
                match body.next().await {
                    Ok(bytes) => {
                        body.rest.start += bytes.len() as u64;
                        body.trial.progressed();
                        return Ok(Some((bytes, body)));
                    }
                    Err(error) => {
                        body.stream = None;
                        body.trial.failed("read", Some(&body.path), error).await?;
                    }
                }
            }
            Ok(None)
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Bytes> {
        let patience = self.patience.clone();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let options =
                    GetOptions { range: Some(GetRange::Bounded(self.rest.clone())), ..self.options.clone() };
                let result = patience.limit(self.store.inner.get_opts(&self.path, options)).await?;
                if result.range != self.rest {
                    return Err(broken("answered with another range than it was asked for"));
                }
                none.insert(result.into_stream())
            }
        };
        let Some(bytes) = patience.limit(async { stream.next().await.transpose() }).await? else {
            return Err(broken("ended a body early"));
        };
        if bytes.len() as u64 > self.rest.end - self.rest.start {
            return Err(broken("sent more than it was asked for"));
        }
        Ok(bytes)
    }
}

fn broken(what: &str) -> Error {
    Error::Generic { store: "ops-backup", source: format!("the store {what}").into() }
}

/// A list on its way.
struct Listed {
    store: Resilient,
    prefix: Option<Path>,
    stream: Option<BoxStream<'static, Result<ObjectMeta>>>,
    trial: Trial,
    hasher: RandomState,
    /// Hashes of what was passed on: a million names take 16 MB. Two names with one hash would hide an object, after a
    /// failure; but a list is only ever a hint.
    seen: HashSet<u64>,
}

impl Listed {
    fn into_stream(self) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::try_unfold(self, async |mut listed| {
            loop {
                let stream = match &mut listed.stream {
                    Some(stream) => stream,
                    none => none.insert(listed.store.inner.list(listed.prefix.as_ref())),
                };
                let patience = Patience::new(listed.store.policy.stall);
                match patience.limit(async { stream.next().await.transpose() }).await {
                    Ok(None) => return Ok(None),
                    Ok(Some(object)) => {
                        if listed.seen.insert(listed.hasher.hash_one(&object.location)) {
                            listed.trial.progressed();
                            return Ok(Some((object, listed)));
                        }
                    }
                    Err(error) => {
                        listed.stream = None;
                        listed.trial.failed("list", listed.prefix.as_ref(), error).await?;
                    }
                }
            }
        })
        .boxed()
    }
}
