//! Google Cloud Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::gcp::GoogleCloudStorageBuilder;
use secrecy::{ExposeSecret as _, SecretString};

use super::{client, configuration};
use crate::error::Result;

/// How Google Cloud Storage is reached.
#[derive(Debug, Clone, Default)]
pub struct GcsOptions {
    /// Who asks; without it the machine's own service account is asked for.
    pub credentials: Option<GcsCredentials>,
    /// Another server than Google's, for example a private endpoint.
    pub endpoint: Option<String>,
    /// Whether an endpoint without TLS is accepted: everything, data included, is readable on the way.
    pub allow_http: bool,
}

/// What proves to Google who asks. Never shown.
#[derive(Clone)]
#[non_exhaustive]
pub enum GcsCredentials {
    /// The JSON text of a service account's key.
    ServiceAccountKey(SecretString),
    /// An access token; it is not renewed, and so is good for one short job.
    BearerToken(SecretString),
}

impl std::fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcsCredentials").finish_non_exhaustive()
    }
}

pub(super) fn open(location: &str, rest: &str, options: &GcsOptions) -> Result<Arc<dyn ObjectStore>> {
    let (bucket, prefix) = client::bucket(location, rest, "bucket")?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_retry(client::no_retries())
        .with_client_options(client::options(options.allow_http));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder = match &options.credentials {
        None => builder,
        Some(GcsCredentials::ServiceAccountKey(json)) => {
            builder.with_service_account_key(json.expose_secret())
        }
        Some(GcsCredentials::BearerToken(token)) => builder.with_bearer_token(token.expose_secret()),
    };
    let store =
        builder.build().map_err(|error| configuration(location, "cannot be opened").with_source(error))?;
    Ok(client::below(prefix, store))
}
