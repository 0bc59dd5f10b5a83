//! Asking services over HTTP: one client for all kinds that do, and what is told when there is no answer.
//!
//! Proxies of the environment are not used: one could answer in the place of the service. Messages show an address as the
//! plan has it, since the real one may hold a password or a token.

use super::chain;
use crate::gate::{Context, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, Url};
use serde_json::Value;
use std::collections::BTreeMap;

/// How much of a body is read where the plan does not say: what a gate looks for stands early, and a body may have no end.
pub(super) const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// The type of a JSON body.
pub(super) const JSON: &str = "application/json";

/// A client as the plan asks for it.
pub(super) fn builder(
    context: &Context<'_>,
    redirects: u8,
    ca_file: Option<&Text>,
) -> Result<ClientBuilder, Finding> {
    let redirects = match redirects {
        0 => Policy::none(),
        limit => Policy::limited(limit.into()),
    };
    let mut builder = Client::builder().no_proxy().redirect(redirects).user_agent("ops-gates");
    if let Some(file) = ca_file {
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
    Ok(builder)
}

/// Makes the client.
pub(super) fn build(builder: ClientBuilder) -> Result<Client, Finding> {
    builder.build().map_err(|error| Finding::error(Fault::Internal, "client", chain(&error)))
}

/// The address that a text of the plan names.
pub(super) fn url(context: &Context<'_>, text: &Text) -> Result<Url, Finding> {
    Url::parse(&context.resolve(text)?).map_err(|error| {
        Finding::error(Fault::Unresolved, "url", format!("{text} is not an address: {error}"))
    })
}

/// The headers of the plan, and the trace that the run belongs to.
pub(super) fn headers(context: &Context<'_>, given: &BTreeMap<String, Text>) -> Result<HeaderMap, Finding> {
    let mut headers = HeaderMap::new();
    if let Some(value) = context.traceparent().and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert("traceparent", value);
    }
    for (name, value) in given {
        let wrong = || Finding::error(Fault::Unresolved, "header", format!("header `{name}` cannot be sent"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&context.resolve(value)?).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// What is wrong with an address of the plan.
pub(super) fn wrong_url(url: &Text) -> Option<Wrong> {
    let sound = ["http://", "https://", "${"].iter().any(|start| url.template().starts_with(start));
    (!sound).then(|| Wrong::text(url, "the address must begin with `http://` or `https://`"))
}

/// Why there was no answer, or not a whole one.
pub(super) fn transport(shown: &Text, error: reqwest::Error) -> Finding {
    let (fault, code) = if error.is_redirect() {
        (Fault::Tool, "redirects")
    } else if error.is_connect() {
        (Fault::Connect, "connect")
    } else {
        (Fault::Tool, "transport")
    };
    Finding::error(fault, code, format!("{shown}: {}", chain(&error.without_url())))
}

/// Reads a body up to a limit; none where it is longer.
pub(super) async fn body(
    shown: &Text,
    mut response: Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, Finding> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(shown, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

/// A service over HTTP with paths below one address.
pub(super) struct Web<'a> {
    client: Client,
    base: Url,
    shown: &'a Text,
    headers: HeaderMap,
}

/// An answer with its whole body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl<'a> Web<'a> {
    pub(super) fn new(
        context: &Context<'_>,
        base: &'a Text,
        given: &BTreeMap<String, Text>,
        ca_file: Option<&Text>,
    ) -> Result<Self, Finding> {
        let client = build(builder(context, 0, ca_file)?)?;
        Ok(Self { client, base: url(context, base)?, shown: base, headers: headers(context, given)? })
    }

    /// The address of a path below the base.
    pub(super) fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends a request; the response is not read yet.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Response, Finding> {
        let mut request = self.client.request(method, url).headers(self.headers.clone());
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body);
        }
        request.send().await.map_err(|error| transport(self.shown, error))
    }

    /// Reads what was answered.
    pub(super) async fn read(&self, response: Response) -> Result<Answer, Finding> {
        let status = response.status().as_u16();
        let body = body(self.shown, response, BODY_LIMIT).await?.ok_or_else(|| {
            Finding::error(Fault::Parse, "body-too-long", format!("{} answered without end", self.shown))
        })?;
        Ok(Answer { status, body })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Finding> {
        self.read(self.send(Method::GET, self.at(path, query), None).await?).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Finding> {
        let body = (JSON, body.to_string().into_bytes());
        self.read(self.send(Method::POST, self.at(path, &[]), Some(body)).await?).await
    }

    /// Asks for JSON, which must come with a status of success.
    pub(super) async fn json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Finding> {
        self.get(path, query).await?.json(&self.what(path))
    }

    /// Asks whether a service is ready, where 503 says that it is not yet.
    pub(super) async fn ready(&self, path: &str) -> Result<(), Finding> {
        let answer = self.get(path, &[]).await?;
        answer.succeeded(&self.what(path))
    }

    /// How an address is called in messages.
    pub(super) fn what(&self, path: &str) -> String {
        format!("{}{path}", self.shown.template().trim_end_matches('/'))
    }
}

impl Answer {
    /// Whether the status is one of success.
    pub(super) fn succeeded(&self, what: &str) -> Result<(), Finding> {
        let start: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        let start = start.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = if start.is_empty() { String::new() } else { format!(": {start}") };
        let reason = format!("{what} answered {}{said}", self.status);
        match self.status {
            200..=299 => Ok(()),
            401 | 403 => Err(Finding::error(Fault::Tool, "unauthorized", reason)),
            429 | 503 => Err(Finding::error(Fault::NotReady, "not-ready", reason)),
            _ => Err(Finding::error(Fault::Tool, "status", reason)),
        }
    }

    /// The body as JSON.
    pub(super) fn json(&self, what: &str) -> Result<Value, Finding> {
        self.succeeded(what)?;
        serde_json::from_slice(&self.body).map_err(|error| {
            Finding::error(Fault::Parse, "not-json", format!("{what} did not answer with JSON: {error}"))
        })
    }
}
