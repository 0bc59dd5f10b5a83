//! `kind = "http"`: sends one GET request and looks at the status, the headers and the body.

use super::{Context, chain};
use crate::outcome::{Fault, Finding};
use crate::plan::Http;
use crate::process::Finder;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};

/// How much of a body is searched. What a gate looks for stands early, and a body may have no end.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

pub(super) async fn run(http: &Http, context: &Context<'_>) -> Finding {
    match request(http, context).await {
        Ok(response) => judge(http, context, response).await,
        Err(finding) => finding,
    }
}

async fn request(http: &Http, context: &Context<'_>) -> Result<Response, Finding> {
    let client = client(http, context)?;
    let url = reqwest::Url::parse(&context.resolve(&http.url)).map_err(|error| {
        Finding::error(Fault::Unresolved, "url", format!("{} is not an address: {error}", http.url))
    })?;
    let mut headers = HeaderMap::new();
    if let Some(value) = context.traceparent().and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert("traceparent", value);
    }
    for (name, value) in &http.headers {
        let wrong = || Finding::error(Fault::Unresolved, "header", format!("header `{name}` cannot be sent"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&context.resolve(value)).map_err(|_| wrong())?;
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
        let path = context.plan.path(file);
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

async fn judge(http: &Http, context: &Context<'_>, mut response: Response) -> Finding {
    let status = response.status().as_u16();
    if status != http.status {
        return Finding::fail("status", format!("{} answered {status}, expected {}", http.url, http.status));
    }
    for (name, wanted) in &http.expect_headers {
        let mut values = response.headers().get_all(name).iter();
        let wanted_text = context.resolve(wanted);
        let holds = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).contains(&wanted_text);
        if !values.any(holds) {
            let reason = format!("{} answered {status} without `{wanted}` in header `{name}`", http.url);
            return Finding::fail("header", reason);
        }
    }
    let Some(wanted) = &http.body_contains else {
        return Finding::pass(format!("{} answered {status}", http.url));
    };
    let mut finder = Finder::new(&context.resolve(wanted));
    let mut read = 0;
    while !finder.found() && read < BODY_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                finder.feed(&chunk);
                read += chunk.len();
            }
            Ok(None) => break,
            Err(error) => return transport(http, error),
        }
    }
    if finder.found() {
        Finding::pass(format!("{} answered {status} with {wanted:?} in the body", http.url))
    } else {
        Finding::fail("body", format!("{} answered {status}, but {wanted:?} is not in the body", http.url))
    }
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
