//! A rate that all users of a store share.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::Instant;

use crate::repo::store::patience::Patience;

/// How fast a store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttle {
    /// Bytes per second to the store, over all workers of this process; none is without limit.
    pub upload: Option<NonZeroU64>,
    /// Bytes per second from the store, likewise.
    pub download: Option<NonZeroU64>,
}

impl Throttle {
    /// Returns `store` slowed down; itself where nothing is limited.
    pub(crate) fn apply(self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        if self == Throttle::default() {
            return store;
        }
        let rate = |bytes: Option<NonZeroU64>| bytes.map(|bytes| Arc::new(Rate::new(bytes)));
        Arc::new(Throttled { inner: store, upload: rate(self.upload), download: rate(self.download) })
    }
}

/// How far a rate may lag behind and catch up: timers are no finer than a millisecond.
const SLACK: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Rate {
    bytes_per_second: NonZeroU64,
    /// When what was let through so far will have passed.
    free: Mutex<Instant>,
}

impl Rate {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Rate { bytes_per_second, free: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may pass.
    async fn take(&self, bytes: u64, patience: Option<&Patience>) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let wait = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let begin = now.checked_sub(SLACK).map_or(*free, |earliest| earliest.max(*free));
            *free = begin + takes;
            begin.saturating_duration_since(now)
        };
        if wait > Duration::ZERO {
            if let Some(patience) = patience {
                patience.extend(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

#[derive(Debug)]
struct Throttled {
    inner: Arc<dyn ObjectStore>,
    upload: Option<Arc<Rate>>,
    download: Option<Arc<Rate>>,
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Throttled {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if let Some(rate) = &self.upload {
            rate.take(payload.content_length() as u64, options.extensions.get()).await;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let patience: Option<Patience> = options.extensions.get().cloned();
        let head = options.head;
        let mut result = self.inner.get_opts(location, options).await?;
        let Some(rate) = self.download.clone().filter(|_| !head) else { return Ok(result) };
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let (attributes, extensions) = (result.attributes.clone(), std::mem::take(&mut result.extensions));
        let stream = result.into_stream().then(move |chunk| {
            let (rate, patience) = (Arc::clone(&rate), patience.clone());
            async move {
                if let Ok(bytes) = &chunk {
                    rate.take(bytes.len() as u64, patience.as_ref()).await;
                }
                chunk
            }
        });
        let payload = GetResultPayload::Stream(stream.boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;
    use crate::repo::store::{Resilient, RetryPolicy};

    #[tokio::test(start_paused = true)]
    async fn workers_share_a_rate_and_their_wait_is_no_stall() {
        let throttle = Throttle { upload: NonZeroU64::new(1000), download: NonZeroU64::new(2000) };
        let policy = RetryPolicy { attempts: 1, stall: Duration::from_secs(1), ..RetryPolicy::default() };
        let store = Arc::new(Resilient::new(throttle.apply(Arc::new(InMemory::new())), policy));
        let started = Instant::now();
        let puts = (0..5).map(|name| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { store.put(&Path::from(format!("{name}")), vec![0; 10_000].into()).await },
            )
        });
        for put in puts.collect::<Vec<_>>() {
            put.await.unwrap().unwrap();
        }
        // What a slack of 100 ms lets through is not waited for, nor is the last one's own time.
        assert_eq!(started.elapsed().as_secs_f64().round(), 40.0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let started = Instant::now();
        for name in 0..5 {
            store.get(&Path::from(format!("{name}"))).await.unwrap().bytes().await.unwrap();
        }
        assert_eq!(started.elapsed().as_secs_f64().round(), 20.0);
    }
}
