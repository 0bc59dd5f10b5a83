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
use reqwest::{Certificate, Client, ClientBuilder, Response, Url};
use std::collections::BTreeMap;

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
