//! One request to the server and its answer, judged by its status. Nothing is logged of either, and no words of the server
//! are passed on.

use super::error::{VaultError, VaultErrorKind};
use super::options::VaultOptions;
use crate::secret::Secret;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Method, Url};
use serde_json::Value;

/// The most bytes that an answer may have.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A connection to one server.
pub(super) struct Http {
    client: Client,
    base: Url,
    namespace: Option<HeaderValue>,
}

/// An answer with a status that promises something.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// Whether the server warns about something: a renewal that was cut short, for example.
    pub(super) fn warns(&self) -> bool {
        self.body["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty())
    }

    /// Whether the server's reasons hold a phrase; they themselves are never shown.
    pub(super) fn says(&self, phrase: &str) -> bool {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(Value::as_str).any(|error| error.contains(phrase))
    }
}

impl Http {
    pub(super) fn new(options: &VaultOptions) -> Result<Self, VaultError> {
        // An address may hold a password, so it is not shown.
        let wrong = |why: &str| VaultError::new(VaultErrorKind::Options, "the address", why);
        let mut base = Url::parse(&options.address).map_err(|_| wrong("it is no URL"))?;
        if base.password().is_some() || !base.username().is_empty() {
            return Err(wrong("it holds a user or a password; the server takes neither"));
        }
        match base.scheme() {
            "https" => {}
            "http" if is_loopback(&base) || options.allow_plain_http => {}
            "http" => {
                return Err(wrong(
                    "it is `http` to another machine, where a token would be sent in the clear",
                ));
            }
            _ => return Err(wrong("it is neither `https` nor `http`")),
        }
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        // The token must not follow a redirect to another machine, nor pass a proxy that the environment names.
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("ops-secrets")
            .timeout(options.timeout);
        if let Some(file) = &options.ca_file {
            let wrong =
                |why: String| VaultError::new(VaultErrorKind::Options, &file.display().to_string(), why);
            let pem =
                std::fs::read(file).map_err(|error| wrong(format!("cannot be read ({})", error.kind())))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| wrong("is not PEM".into()))?;
            if certificates.is_empty() {
                return Err(wrong("has no certificate".into()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|_| wrong("no client can be made for it"))?;
        let namespace = options.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace
            .map_err(|_| VaultError::new(VaultErrorKind::Options, "the namespace", "it cannot be sent"))?;
        Ok(Self { client, base, namespace })
    }

    /// The address without what a person may have put behind it, and the namespace.
    #[cfg(feature = "rotate")]
    pub(super) fn place(&self) -> String {
        let base = self.base.as_str().trim_end_matches('/');
        match self.namespace.as_ref().and_then(|namespace| namespace.to_str().ok()) {
            Some(namespace) => format!("{base} (namespace {namespace})"),
            None => base.to_owned(),
        }
    }

    /// Sends a request below `/v1/`; an answer of 200, 204, 400 or 404 is the caller's to judge.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Answer, VaultError> {
        let failed = |kind, why: &str| VaultError::new(kind, path, why);
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| failed(VaultErrorKind::Options, "the address takes no path"))?
            .pop_if_empty()
            .push("v1")
            .extend(path.split_once('?').map_or(path, |(path, _)| path).split('/'));
        url.set_query(path.split_once('?').map(|(_, query)| query));
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                failed(VaultErrorKind::Options, "the token has characters that cannot be sent")
            })?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        let mut request = self.client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let unreachable = |error: &reqwest::Error| {
            let why = match () {
                () if error.is_timeout() => "the server did not answer in time",
                () if error.is_connect() => "the server cannot be reached, or its certificate is not trusted",
                () => "the connection to the server broke",
            };
            failed(VaultErrorKind::Unreachable, why)
        };
        let mut response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(failed(VaultErrorKind::UnexpectedAnswer, "the answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        judge(Answer { status, body }, path)
    }
}

fn judge(answer: Answer, path: &str) -> Result<Answer, VaultError> {
    let failed = |kind, why: String| Err(VaultError::new(kind, path, why));
    match answer.status {
        200 if !answer.body.is_object() => {
            failed(VaultErrorKind::UnexpectedAnswer, "the answer is no JSON object".into())
        }
        // Right after a mount of KV version 2 was made.
        400 if answer.says("Upgrading from non-versioned") => {
            failed(VaultErrorKind::Unreachable, "the mount is not ready yet".into())
        }
        200 | 204 | 400 | 404 => Ok(answer),
        403 => failed(
            VaultErrorKind::Forbidden,
            "the server refuses it: the token has expired, or its policy does not allow the path".into(),
        ),
        429 => failed(VaultErrorKind::TooManyRequests, "the server asks for fewer requests".into()),
        501 => failed(VaultErrorKind::Sealed, "the server is not initialised".into()),
        503 if answer.says("sealed") => failed(VaultErrorKind::Sealed, "the server is sealed".into()),
        status @ 300..=399 => failed(
            VaultErrorKind::Unreachable,
            format!("the server redirects ({status}); give the address of the one that is active"),
        ),
        status @ (412 | 472 | 473 | 500..=599) => {
            failed(VaultErrorKind::Unreachable, format!("the server cannot serve now (it answered {status})"))
        }
        status => failed(VaultErrorKind::UnexpectedAnswer, format!("the server answered {status}")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}
