//! `kind = "s3"`: writes, reads and deletes a small object in a bucket, and asks how the bucket keeps its objects.
//!
//! S3's interface by hand: three requests and their signature are less than a client, and the settings of a bucket are not
//! part of what general stores offer.

mod sign;

use super::net::wrong_password;
use super::web::{self, transport, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::{Client, Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sign::{Credentials, sign};
use std::time::Instant;

/// A bucket of S3, or of a server with its interface, that must keep an object.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// The address of the service, such as `https://s3.eu-central-1.amazonaws.com`; the bucket stands in the path.
    pub url: Text,
    /// The bucket.
    pub bucket: Text,
    /// The region that requests are signed for.
    #[serde(default = "region")]
    pub region: Text,
    /// The access key's id.
    pub access_key: Text,
    /// The secret key, as `${secret:NAME}` or `${env:NAME}`.
    pub secret_key: Text,
    /// The token of temporary credentials.
    pub session_token: Option<Text>,
    /// Whether to write: an object with a random name below `prefix`, which is read back, compared and deleted. Where the
    /// bucket keeps versions, the version is deleted; a gate that is stopped in between leaves one object of 64 bytes.
    #[serde(default)]
    pub write_canary: bool,
    /// Where the canary is written.
    #[serde(default = "prefix")]
    pub prefix: Text,
    /// Whether the bucket must keep old versions.
    #[serde(default)]
    pub versioning: bool,
    /// Whether the bucket must encrypt what it stores, by its own default.
    #[serde(default)]
    pub encryption: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

fn region() -> Text {
    "us-east-1".into()
}

fn prefix() -> Text {
    "ops-gates-canary/".into()
}

/// What the requests of one check share.
struct Bucket<'a> {
    client: Client,
    base: Url,
    credentials: Credentials,
    shown: &'a Text,
}

struct Response {
    status: u16,
    body: Vec<u8>,
    version: Option<String>,
}

impl Gate for S3 {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_url(&self.url).into_iter().collect();
        wrong.extend(wrong_password(Some(&self.secret_key)));
        wrong.extend(wrong_password(self.session_token.as_ref()));
        if !self.write_canary && !self.versioning && !self.encryption {
            wrong.push(Wrong::gate(
                "a bucket that is there may refuse every object; give `write_canary`, `versioning` or `encryption`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("bucket {} at {}", self.bucket, self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl S3 {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let mut base = web::url(context, &self.url)?;
        let path = format!("{}/{}", base.path().trim_end_matches('/'), context.resolve(&self.bucket)?);
        base.set_path(&path);
        let session_token = self.session_token.as_ref().map(|token| context.resolve(token)).transpose()?;
        let bucket = Bucket {
            client: web::build(web::builder(context, 0, self.ca_file.as_ref())?)?,
            base,
            credentials: Credentials {
                region: context.resolve(&self.region)?,
                access_key: context.resolve(&self.access_key)?,
                secret_key: context.resolve(&self.secret_key)?,
                session_token,
            },
            shown: &self.url,
        };
        let mut shown = Vec::new();
        if self.versioning {
            let answer = bucket.ask(Method::GET, "", &[("versioning", "")], b"").await?;
            answer.succeeded(&self.bucket)?;
            if !String::from_utf8_lossy(&answer.body).contains("<Status>Enabled</Status>") {
                let reason = format!("bucket {} does not keep old versions", self.bucket);
                return Err(Finding::fail("versioning", reason));
            }
            shown.push("keeps old versions");
        }
        if self.encryption {
            let answer = bucket.ask(Method::GET, "", &[("encryption", "")], b"").await?;
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status == 404 && body.contains("ServerSideEncryptionConfigurationNotFound") {
                let reason = format!("bucket {} does not encrypt by default", self.bucket);
                return Err(Finding::fail("encryption", reason));
            }
            answer.succeeded(&self.bucket)?;
            if !body.contains("<SSEAlgorithm>") {
                let reason = format!("bucket {} names no algorithm of encryption", self.bucket);
                return Err(Finding::error(Fault::Parse, "protocol", reason));
            }
            shown.push("encrypts by default");
        }
        if !self.write_canary {
            return Ok(Finding::pass(format!("bucket {} {}", self.bucket, shown.join(" and "))));
        }
        let started = Instant::now();
        self.canary(context, &bucket).await?;
        let seconds = started.elapsed().as_secs_f64();
        shown.push("gave back an object as it was, and deleted it");
        let reason = format!("bucket {} {}", self.bucket, shown.join(" and "));
        Ok(Finding::pass(reason).measured("round_trip_seconds", seconds))
    }

    async fn canary(&self, context: &Context<'_>, bucket: &Bucket<'_>) -> Result<(), Finding> {
        let key = format!("{}{:032x}", context.resolve(&self.prefix)?, rand::random::<u128>());
        let content = format!("{:064x}", rand::random::<u128>());
        let put = bucket.ask(Method::PUT, &key, &[], content.as_bytes()).await?;
        put.succeeded(&self.bucket)?;
        let read = bucket.ask(Method::GET, &key, &[], b"").await;
        let version = put.version.as_deref().filter(|version| *version != "null");
        let query: Vec<(&str, &str)> = version.map(|version| ("versionId", version)).into_iter().collect();
        // Also where reading failed, so that nothing stays.
        let deleted = bucket.ask(Method::DELETE, &key, &query, b"").await;
        let read = read?;
        read.succeeded(&self.bucket)?;
        if read.body != content.as_bytes() {
            let reason = format!("bucket {} gave back other bytes than it was given", self.bucket);
            return Err(Finding::fail("canary", reason));
        }
        deleted?.succeeded(&self.bucket)?;
        let gone = bucket.ask(Method::GET, &key, &[], b"").await?;
        if gone.status != 404 {
            let reason = format!("bucket {} still has an object that it deleted", self.bucket);
            return Err(Finding::fail("canary", reason));
        }
        Ok(())
    }
}

impl Bucket<'_> {
    async fn ask(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Finding> {
        let mut url = self.base.clone();
        if !key.is_empty() {
            url.set_path(&format!("{}/{key}", self.base.path()));
        }
        url.set_query(None);
        if !query.is_empty() {
            let pairs: Vec<_> =
                query.iter().map(|(name, value)| format!("{name}={}", sign::encoded(value))).collect();
            url.set_query(Some(&pairs.join("&")));
        }
        let now = Timestamp::now();
        let headers = sign(&self.credentials, &method, &url, body, now);
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.body(body.to_vec());
        }
        let response = request.send().await.map_err(|error| transport(self.shown, error))?;
        let status = response.status().as_u16();
        let version = response.headers().get("x-amz-version-id").and_then(|value| value.to_str().ok());
        let version = version.map(str::to_owned);
        let body = web::body(self.shown, response, web::BODY_LIMIT).await?.unwrap_or_default();
        Ok(Response { status, body, version })
    }
}

impl Response {
    fn succeeded(&self, bucket: &Text) -> Result<(), Finding> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&self.body);
        let code = body.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0));
        let code: String = code.unwrap_or("no code").chars().take(80).collect();
        let reason = format!("bucket {bucket}: the service answered {} ({code})", self.status);
        Err(match self.status {
            403 => Finding::error(Fault::Tool, "unauthorized", reason),
            404 if code == "NoSuchBucket" => Finding::fail("bucket-missing", reason),
            404 => Finding::fail("canary", reason),
            429 | 503 => Finding::error(Fault::NotReady, "not-ready", reason),
            _ => Finding::error(Fault::Tool, "status", reason),
        })
    }
}
