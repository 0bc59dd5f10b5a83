//! The client: finds credentials, signs, sends.

use super::service;
use crate::error::ErrorKind;
use crate::reference::{Document, Fetch, FetchError, Fetching, Reference, Scheme};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpClient, HttpConnector as _, HttpRequest, ReqwestConnector};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// How long one request may take, with finding the credentials.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Reads secrets of AWS.
pub struct Aws {
    http: HttpClient,
    /// Never asked for an object: it keeps the credentials and renews them.
    credentials: AmazonS3,
    region: Option<String>,
    endpoint: Option<String>,
}

/// Why the client cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the variables of AWS do not fit together: keys without secrets, or a URL that is none")]
pub struct AwsError;

impl Aws {
    /// Makes a client from the variables that AWS's own tools read: `AWS_REGION` or `AWS_DEFAULT_REGION`,
    /// `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, `AWS_WEB_IDENTITY_TOKEN_FILE` with
    /// `AWS_ROLE_ARN`, `AWS_CONTAINER_CREDENTIALS_…`, `AWS_ENDPOINT_URL`. Profiles in files are not read.
    ///
    /// # Errors
    /// Where they do not fit together; which of them it is is not told, for the reason may quote one.
    pub fn from_vars(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, AwsError> {
        let all: BTreeMap<String, String> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
            .collect();
        let region = all.get("AWS_REGION").or_else(|| all.get("AWS_DEFAULT_REGION")).cloned();
        let endpoint = all.get("AWS_ENDPOINT_URL").cloned();
        // The bucket is never asked for; the builder wants a name.
        let mut builder = AmazonS3Builder::new().with_bucket_name("none");
        builder = builder.with_region(region.as_deref().unwrap_or("us-east-1"));
        for (name, value) in &all {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
                && !name.contains("ENDPOINT")
                && !name.contains("REGION")
            {
                builder = builder.with_config(key, value);
            }
        }
        let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = ClientOptions::new().with_timeout(TIMEOUT).with_allow_http(plain);
        let http = ReqwestConnector::default().connect(&options).map_err(|_| AwsError)?;
        Ok(Self { http, credentials: builder.build().map_err(|_| AwsError)?, region, endpoint })
    }

    async fn ask(&self, reference: &Reference) -> Result<Document, FetchError> {
        let question = service::question(reference);
        let failed = |kind, why: &str| FetchError::new(kind, why);
        let region = question.region.as_ref().or(self.region.as_ref()).ok_or_else(|| {
            failed(
                ErrorKind::UnresolvedReference,
                "no region is known: set AWS_REGION, or name the secret by its ARN",
            )
        })?;
        let credential = self.credentials.credentials().get_credential().await;
        // The cause is left out: it may quote what the credentials were read from.
        let credential = credential.map_err(|_| {
            failed(ErrorKind::Forbidden, "no credentials of AWS were found, or none were given out")
        })?;
        let sendable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !sendable(&credential.key_id) || credential.token.as_deref().is_some_and(|token| !sendable(token))
        {
            return Err(failed(
                ErrorKind::Forbidden,
                "the credentials of AWS have characters that cannot be sent",
            ));
        }
        let mut request = HttpRequest::new(question.body.into());
        let odd = || failed(ErrorKind::InvalidReference, "its region or address cannot be part of a URL");
        *request.method_mut() = "POST".parse().map_err(|_| odd())?;
        *request.uri_mut() = self.address(question.service, region).parse().map_err(|_| odd())?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/x-amz-json-1.1".parse().map_err(|_| odd())?);
        headers.insert("x-amz-target", question.target.parse().map_err(|_| odd())?);
        AwsAuthorizer::new(&credential, question.service, region)
            .try_authorize(&mut request, None)
            .map_err(|_| failed(ErrorKind::UnresolvedReference, "the request cannot be signed"))?;
        let unreachable = || failed(ErrorKind::Unreachable, "the service cannot be reached");
        let response = self.http.execute(request).await.map_err(|_| unreachable())?;
        let status = response.status().as_u16();
        let body = response.into_body().bytes().await.map_err(|_| unreachable())?;
        service::answer(reference.scheme(), status, &body)
    }

    fn address(&self, service: &str, region: &str) -> String {
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        match &self.endpoint {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{service}.{region}.{suffix}/"),
        }
    }
}

impl Fetch for Aws {
    fn schemes(&self) -> &[Scheme] {
        &[Scheme::AwsSecretsManager, Scheme::AwsParameterStore]
    }

    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a> {
        Box::pin(async move {
            let late = |_| FetchError::new(ErrorKind::Unreachable, "the service did not answer in time");
            tokio::time::timeout(TIMEOUT, self.ask(reference)).await.map_err(late)?
        })
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).finish_non_exhaustive()
    }
}
