//! Amazon S3 and what speaks its protocol.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use secrecy::{ExposeSecret as _, SecretString};

use super::{client, configuration};
use crate::error::Result;
use crate::repo::store::class::Classed;

/// How an S3 server is reached, and what it should do with the objects.
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
    /// How the server encrypts what it stores; as its bucket says where none is given. A repository that is encrypted
    /// itself does not need it.
    pub encryption: Option<S3Encryption>,
    /// The checksum that is sent with each upload, for the server to refuse what was damaged on the way. Some servers
    /// that are not Amazon's refuse it altogether.
    pub checksum: Option<S3Checksum>,
    /// The storage class of packs, nearly all of a repository; everything else is small and stays in the default class.
    pub storage_class: Option<S3StorageClass>,
}

/// An access key of S3. Never shown.
#[derive(Clone)]
pub struct S3Credentials {
    /// The name of the key.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: SecretString,
    /// The token of a temporary key.
    pub session_token: Option<SecretString>,
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Credentials").finish_non_exhaustive()
    }
}

/// Encryption by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Encryption {
    /// With keys of the storage service itself (SSE-S3).
    S3,
    /// With a key of the key management service (SSE-KMS).
    Kms {
        /// The key, by its id or name.
        key_id: String,
        /// Whether a key of the bucket stands in between: far fewer, and so cheaper, requests to the service.
        bucket_key: bool,
    },
}

/// A checksum of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Checksum {
    /// SHA-256: understood by most servers; costs time.
    Sha256,
    /// CRC-64/NVME: fast; understood by few servers but Amazon's.
    Crc64Nvme,
}

/// A storage class whose objects can be read at once. The archive classes cannot, and a restore would wait for hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3StorageClass {
    /// Cheaper to keep, dearer to read, billed for at least 30 days.
    StandardInfrequentAccess,
    /// As that, in one zone: lost with it.
    OneZoneInfrequentAccess,
    /// The service moves objects by how they are used.
    IntelligentTiering,
    /// Cheapest to keep, dearest to read, billed for at least 90 days.
    GlacierInstantRetrieval,
}

impl S3StorageClass {
    fn name(self) -> &'static str {
        match self {
            S3StorageClass::StandardInfrequentAccess => "STANDARD_IA",
            S3StorageClass::OneZoneInfrequentAccess => "ONEZONE_IA",
            S3StorageClass::IntelligentTiering => "INTELLIGENT_TIERING",
            S3StorageClass::GlacierInstantRetrieval => "GLACIER_IR",
        }
    }
}

pub(super) fn open(location: &str, rest: &str, options: &S3Options) -> Result<Arc<dyn ObjectStore>> {
    let (bucket, prefix) = client::bucket(location, rest, "bucket")?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(options.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(options.virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Objects are deleted one by one, so that each can be tried again; and not every server knows the other way.
        .with_disable_bulk_delete(true)
        .with_retry(client::no_retries())
        .with_client_options(client::options(options.allow_http));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(credentials) = &options.credentials {
        builder = builder
            .with_access_key_id(&credentials.access_key_id)
            .with_secret_access_key(credentials.secret_access_key.expose_secret());
        if let Some(token) = &credentials.session_token {
            builder = builder.with_token(token.expose_secret());
        }
    }
    builder = match &options.encryption {
        None => builder,
        Some(S3Encryption::S3) => {
            // The type of this key has no public name; the name of the setting is documented.
            let key = "aws_server_side_encryption".parse::<AmazonS3ConfigKey>();
            let key =
                key.map_err(|error| configuration(location, "cannot be encrypted").with_source(error))?;
            builder.with_config(key, "AES256")
        }
        Some(S3Encryption::Kms { key_id, bucket_key }) => {
            builder.with_sse_kms_encryption(key_id).with_bucket_key(*bucket_key)
        }
    };
    builder = match options.checksum {
        None => builder,
        Some(S3Checksum::Sha256) => builder.with_checksum_algorithm(Checksum::SHA256),
        Some(S3Checksum::Crc64Nvme) => builder.with_checksum_algorithm(Checksum::CRC64NVME),
    };
    let store =
        builder.build().map_err(|error| configuration(location, "cannot be opened").with_source(error))?;
    let inner = client::below(prefix, store);
    Ok(match options.storage_class {
        Some(class) => Arc::new(Classed { inner, class: class.name() }),
        None => inner,
    })
}
