//! From a location that a person writes to an object store with safe settings. Reads no environment.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use crate::error::{Error, ErrorKind, Result};

/// What a location alone does not say. Each field is used only by the kind of store that it names.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LocationOptions {
    /// S3: the server and the key.
    #[cfg(feature = "s3")]
    pub s3: S3Options,
}

/// How an S3 server is reached.
#[cfg(feature = "s3")]
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// The endpoint of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` where none is given.
    pub region: Option<String>,
    /// The access key, its secret and perhaps a session token; without them the machine's own role is asked for.
    pub credentials: Option<S3Credentials>,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted: bool,
    /// Whether an endpoint without TLS is accepted: everything, data included, is readable on the way.
    pub allow_http: bool,
}

/// An access key of S3. Never shown.
#[cfg(feature = "s3")]
#[derive(Clone)]
pub struct S3Credentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token of a temporary key.
    pub session_token: Option<String>,
}

#[cfg(feature = "s3")]
impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Credentials").finish_non_exhaustive()
    }
}

/// Opens the store at `location`: a directory, `file:///directory` or, with the feature `s3`, `s3://bucket/prefix`.
///
/// A directory is created if its parent exists.
///
/// # Errors
/// `Configuration` where the location is a file, or of a kind that this build does not know.
pub fn open(location: &str, options: &LocationOptions) -> Result<Arc<dyn ObjectStore>> {
    let _ = options;
    match location.split_once("://") {
        None => open_directory(Path::new(location)),
        Some(("file", path)) if path.starts_with('/') => open_directory(Path::new(path)),
        #[cfg(feature = "s3")]
        Some(("s3", rest)) => s3::open(location, rest, &options.s3),
        #[cfg(not(feature = "s3"))]
        Some(("s3", _)) => Err(configuration(location, "names S3, which this build leaves out")),
        Some(_) => Err(configuration(location, "is neither a directory nor an s3:// location")),
    }
}

fn open_directory(path: &Path) -> Result<Arc<dyn ObjectStore>> {
    let location = path.display().to_string();
    if path.exists() && !path.is_dir() {
        return Err(configuration(&location, "is a file, and a repository is a directory"));
    }
    if !path.exists() {
        std::fs::create_dir(path)
            .map_err(|error| Error::io(format!("create the repository directory {path:?}"), error))?;
    }
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|error| configuration(&location, "cannot be opened").with_source(error))?;
    // Success means durable: without this the system would keep objects in memory for a while.
    Ok(Arc::new(store.with_fsync(true)))
}

fn configuration(location: &str, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the repository {location:?} {what}"))
}

#[cfg(feature = "s3")]
mod s3 {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::ClientOptions;
    use object_store::ObjectStore;
    use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
    use object_store::prefix::PrefixStore;

    use super::{S3Options, configuration};
    use crate::error::Result;

    const CONNECT: Duration = Duration::from_secs(5);
    /// A transfer that makes no progress for so long is dead. The whole transfer has no limit: a pack may be slow.
    const STALL: Duration = Duration::from_secs(45);

    pub(super) fn open(location: &str, rest: &str, options: &S3Options) -> Result<Arc<dyn ObjectStore>> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(configuration(location, "names no bucket"));
        }
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_read_timeout(STALL)
            .with_timeout_disabled()
            .with_allow_http(options.allow_http);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(options.region.as_deref().unwrap_or("us-east-1"))
            .with_virtual_hosted_style_request(options.virtual_hosted)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(client);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(credentials) = &options.credentials {
            builder = builder
                .with_access_key_id(&credentials.access_key_id)
                .with_secret_access_key(&credentials.secret_access_key);
            if let Some(token) = &credentials.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = builder
            .build()
            .map_err(|error| configuration(location, "cannot be opened").with_source(error))?;
        Ok(if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
    }
}
