//! From a location that a person writes to an object store with safe settings. Reads no environment.
//!
//! | location | store | feature |
//! |---|---|---|
//! | `/directory`, `file:///directory` | a directory, made durable at each write | |
//! | `s3://bucket/prefix` | Amazon S3 and what speaks its protocol | `s3` |
//! | `gs://bucket/prefix` | Google Cloud Storage | `gcs` |
//! | `az://container/prefix` | Azure Blob Storage | `azure` |
//!
//! The clients never try again by themselves, and set no limit to the time of a transfer: both is done, for every
//! store alike, by the repository, as its [`RetryPolicy`](crate::RetryPolicy) says.

#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "azure", feature = "gcs", feature = "s3"))]
mod client;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "s3")]
mod s3;

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;

#[cfg(feature = "azure")]
pub use self::azure::{AzureCredentials, AzureOptions};
#[cfg(feature = "gcs")]
pub use self::gcs::{GcsCredentials, GcsOptions};
#[cfg(feature = "s3")]
pub use self::s3::{S3Checksum, S3Credentials, S3Encryption, S3Options, S3StorageClass};
use crate::error::{Error, ErrorKind, Result};
use crate::repo::store::directory::Directory;
pub use crate::repo::store::throttle::Throttle;

/// What a location alone does not say. Each field but the throttle is used only by the kind of store that it names.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LocationOptions {
    /// How fast the store is used at most, in each direction.
    pub throttle: Throttle,
    /// S3: the server, the key, and what it should do with the objects.
    #[cfg(feature = "s3")]
    pub s3: S3Options,
    /// Google Cloud Storage: the key.
    #[cfg(feature = "gcs")]
    pub gcs: GcsOptions,
    /// Azure: the account and its key.
    #[cfg(feature = "azure")]
    pub azure: AzureOptions,
}

/// Opens the store at `location`: see the table of this module.
///
/// A directory is created, for its owner alone, if its parent exists.
///
/// # Errors
/// `Configuration` where the location is a file, or of a kind that this build does not know.
pub fn open(location: &str, options: &LocationOptions) -> Result<Arc<dyn ObjectStore>> {
    let store = match location.split_once("://") {
        None => open_directory(Path::new(location)),
        Some(("file", path)) if path.starts_with('/') => open_directory(Path::new(path)),
        #[cfg(feature = "s3")]
        Some(("s3", rest)) => s3::open(location, rest, &options.s3),
        #[cfg(not(feature = "s3"))]
        Some(("s3", _)) => Err(left_out(location, "s3")),
        #[cfg(feature = "gcs")]
        Some(("gs", rest)) => gcs::open(location, rest, &options.gcs),
        #[cfg(not(feature = "gcs"))]
        Some(("gs", _)) => Err(left_out(location, "gcs")),
        #[cfg(feature = "azure")]
        Some(("az", rest)) => azure::open(location, rest, &options.azure),
        #[cfg(not(feature = "azure"))]
        Some(("az", _)) => Err(left_out(location, "azure")),
        Some(_) => {
            Err(configuration(location, "is neither a directory nor one of s3://…, gs://… and az://…"))
        }
    };
    Ok(options.throttle.apply(store?))
}

fn open_directory(path: &Path) -> Result<Arc<dyn ObjectStore>> {
    let location = path.display().to_string();
    if path.exists() && !path.is_dir() {
        return Err(configuration(&location, "is a file, and a repository is a directory"));
    }
    if !path.exists() {
        Directory::create(path)
            .map_err(|error| Error::io(format!("create the repository directory {path:?}"), error))?;
    }
    let store = Directory::open(path)
        .map_err(|error| configuration(&location, "cannot be opened").with_source(error))?;
    Ok(Arc::new(store))
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
fn left_out(location: &str, feature: &str) -> Error {
    configuration(location, &format!("needs the feature `{feature}`, which this build leaves out"))
}

fn configuration(location: &str, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the repository {location:?} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_that_cannot_be_opened_says_what_it_should_be() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for (location, expected) in [
            (file.to_str().unwrap(), "is a file"),
            ("ftp://host/x", "neither a directory nor one of s3://"),
            ("file://relative", "neither a directory"),
            #[cfg(not(feature = "s3"))]
            ("s3://bucket", "the feature `s3`"),
            #[cfg(not(feature = "gcs"))]
            ("gs://bucket", "the feature `gcs`"),
            #[cfg(not(feature = "azure"))]
            ("az://container", "the feature `azure`"),
            #[cfg(feature = "s3")]
            ("s3:///prefix", "names no bucket"),
            #[cfg(feature = "gcs")]
            ("gs:///prefix", "names no bucket"),
            #[cfg(feature = "azure")]
            ("az:///prefix", "names no container"),
        ] {
            let error = open(location, &LocationOptions::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{location}");
            assert!(error.to_string().contains(expected), "{location}: {error}");
        }
    }
}
