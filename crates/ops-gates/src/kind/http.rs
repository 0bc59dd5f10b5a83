//! `kind = "http"`: sends one GET request and looks at the status, the headers and the body.

use super::chain;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::process::Finder;
use crate::value::Text;
use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An HTTP request whose answer must be as expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The address, `http` or `https`. Proxies of the environment are not used.
    pub url: Text,
    /// The status that passes.
    #[serde(default = "ok")]
    pub status: u16,
    /// A text that must stand in the body, within its first 8 MiB.
    pub body_contains: Option<Text>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Headers that must come back, each with a text that its value must contain.
    #[serde(default)]
    pub expect_headers: BTreeMap<String, Text>,
    /// How many redirects are followed; by default none, so that a redirect to a login page does not pass.
    #[serde(default)]
    pub redirects: u8,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

fn ok() -> u16 {
    200
}

/// How much of a body is searched. What a gate looks for stands early, and a body may have no end.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

impl Gate for Http {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if !(100..=599).contains(&self.status) {
            wrong.push(Wrong::gate(format!("status {} does not exist", self.status)));
        }
        let url = self.url.template();
        if !["http://", "https://", "${env:"].iter().any(|start| url.starts_with(start)) {
            wrong.push(Wrong::text(&self.url, "the address must begin with `http://` or `https://`"));
        }
        let looked_for = self.body_contains.iter().chain(self.expect_headers.values());
        for text in looked_for.filter(|text| text.template().is_empty()) {
            wrong.push(Wrong::text(text, "an empty text is in every answer, so it would prove nothing"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} answers {}", self.url, self.status)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            match request(self, context).await {
                Ok(response) => judge(self, context, response).await.unwrap_or_else(|finding| finding),
                Err(finding) => finding,
            }
        })
    }
}

async fn request(http: &Http, context: &Context<'_>) -> Result<Response, Finding> {
    let client = client(http, context)?;
    let url = reqwest::Url::parse(&context.resolve(&http.url)?).map_err(|error| {
        Finding::error(Fault::Unresolved, "url", format!("{} is not an address: {error}", http.url))
    })?;
    let mut headers = HeaderMap::new();
    if let Some(value) = context.traceparent().and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert("traceparent", value);
    }
    for (name, value) in &http.headers {
        let wrong = || Finding::error(Fault::Unresolved, "header", format!("header `{name}` cannot be sent"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&context.resolve(value)?).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    // The address may hold a password or a token, so that errors do not show it.
    client.get(url).headers(headers).send().await.map_err(|error| transport(http, error))
}

fn client(http: &Http, context: &Context<'_>) -> Result<Client, Finding> {
    let redirects = match http.redirects {
        0 => Policy::none(),
        limit => Policy::limited(limit.into()),
    };
    // A proxy of the environment could answer in the place of the service.
    let mut builder = Client::builder().no_proxy().redirect(redirects).user_agent("ops-gates");
    if let Some(file) = &http.ca_file {
        let path = context.path(file)?;
        let wrong = |error: String| {
            Finding::error(Fault::Unresolved, "ca-file", format!("cannot read {file}: {error}"))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("it has no certificate".to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| Finding::error(Fault::Internal, "client", chain(&error)))
}

async fn judge(http: &Http, context: &Context<'_>, mut response: Response) -> Result<Finding, Finding> {
    let status = response.status().as_u16();
    if status != http.status {
        return Err(Finding::fail(
            "status",
            format!("{} answered {status}, expected {}", http.url, http.status),
        ));
    }
    for (name, wanted) in &http.expect_headers {
        let mut values = response.headers().get_all(name).iter();
        let wanted_text = context.resolve(wanted)?;
        let holds = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).contains(&wanted_text);
        if !values.any(holds) {
            let reason = format!("{} answered {status} without `{wanted}` in header `{name}`", http.url);
            return Err(Finding::fail("header", reason));
        }
    }
    let Some(wanted) = &http.body_contains else {
        return Ok(Finding::pass(format!("{} answered {status}", http.url)));
    };
    let mut finder = Finder::new(&context.resolve(wanted)?);
    let mut read = 0;
    while !finder.found() && read < BODY_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                finder.feed(&chunk);
                read += chunk.len();
            }
            Ok(None) => break,
            Err(error) => return Err(transport(http, error)),
        }
    }
    Ok(if finder.found() {
        Finding::pass(format!("{} answered {status} with {wanted:?} in the body", http.url))
    } else {
        Finding::fail("body", format!("{} answered {status}, but {wanted:?} is not in the body", http.url))
    })
}

fn transport(http: &Http, error: reqwest::Error) -> Finding {
    let (fault, code) = if error.is_redirect() {
        (Fault::Tool, "redirects")
    } else if error.is_connect() {
        (Fault::Connect, "connect")
    } else {
        (Fault::Tool, "transport")
    };
    Finding::error(fault, code, format!("{}: {}", http.url, chain(&error.without_url())))
}
