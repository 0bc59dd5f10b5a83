//! What the HTTP clients of all stores have in common.

use std::sync::Arc;
use std::time::Duration;

use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::configuration;
use crate::error::Result;

const CONNECT: Duration = Duration::from_secs(5);

/// No limit but for the connection. The client's own limit of 30 s covers whole bodies; its limit of a read covers the
/// whole upload before the answer. A pack on a slow line would never pass either.
pub(super) fn options(allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled().with_allow_http(allow_http)
}

/// The repository alone tries again: attempts within attempts would multiply.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Cuts the part of a location behind `://` into bucket and prefix.
pub(super) fn bucket<'a>(location: &str, rest: &'a str, what: &str) -> Result<(&'a str, &'a str)> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(configuration(location, &format!("names no {what}")));
    }
    Ok((bucket, prefix.trim_matches('/')))
}

pub(super) fn below(prefix: &str, store: impl ObjectStore) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}
