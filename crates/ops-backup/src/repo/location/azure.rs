//! Azure Blob Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::azure::MicrosoftAzureBuilder;
use secrecy::{ExposeSecret as _, SecretString};

use super::{client, configuration};
use crate::error::Result;

/// How Azure Blob Storage is reached.
#[derive(Debug, Clone, Default)]
pub struct AzureOptions {
    /// The storage account.
    pub account: String,
    /// Who asks; without it the machine's own managed identity is asked for.
    pub credentials: Option<AzureCredentials>,
    /// Another server than `<account>.blob.core.windows.net`, with the account in its path if the server wants that.
    pub endpoint: Option<String>,
    /// Whether an endpoint without TLS is accepted: everything, data included, is readable on the way.
    pub allow_http: bool,
}

/// What proves to Azure who asks. Never shown.
#[derive(Clone)]
#[non_exhaustive]
pub enum AzureCredentials {
    /// A key of the storage account, in base64.
    AccessKey(SecretString),
    /// A shared access signature: `sv=…&sig=…`. It must allow to read, create, delete and list.
    SharedAccessSignature(SecretString),
    /// A service principal of Entra ID.
    ClientSecret {
        /// The directory.
        tenant_id: String,
        /// The application.
        client_id: String,
        /// Its secret.
        secret: SecretString,
    },
}

impl std::fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureCredentials").finish_non_exhaustive()
    }
}

pub(super) fn open(location: &str, rest: &str, options: &AzureOptions) -> Result<Arc<dyn ObjectStore>> {
    let (container, prefix) = client::bucket(location, rest, "container")?;
    if options.account.is_empty() {
        return Err(configuration(location, "needs the name of a storage account"));
    }
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&options.account)
        .with_container_name(container)
        .with_retry(client::no_retries())
        .with_client_options(client::options(options.allow_http));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder = match &options.credentials {
        None => builder,
        Some(AzureCredentials::AccessKey(key)) => builder.with_access_key(key.expose_secret()),
        Some(AzureCredentials::SharedAccessSignature(signature)) => {
            builder.with_config(object_store::azure::AzureConfigKey::SasKey, signature.expose_secret())
        }
        Some(AzureCredentials::ClientSecret { tenant_id, client_id, secret }) => {
            builder.with_client_secret_authorization(client_id, secret.expose_secret(), tenant_id)
        }
    };
    let store =
        builder.build().map_err(|error| configuration(location, "cannot be opened").with_source(error))?;
    Ok(client::below(prefix, store))
}
