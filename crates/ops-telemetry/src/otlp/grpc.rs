//! A client for one address over gRPC (HTTP/2): one unary call at a time, one connection that is kept, everything within a
//! deadline. Feature `otlp-grpc`.
//!
//! HTTP/2 needs a runtime; this one is the delivering thread's own and turns only while a request is under way. So it makes
//! no difference whether the program has one, of which flavour, or is just shutting it down. A connection that the
//! collector gave up meanwhile is noticed at the next request, which is then made on a new one.

use std::io;
#[cfg(feature = "otlp-tls")]
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::answer::MAX_ANSWER;
use super::courier::{Client, Sent};
use super::options::{Collector, no_header};
use super::socket::dial;
use super::status::Answer;
use super::url::Url;
use crate::error::{Error, ErrorKind};

/// Where a collector listens for gRPC unless somebody says otherwise.
const PORT: u16 = 4317;

pub(super) struct GrpcClient {
    url: Url,
    uri: Uri,
    headers: HeaderMap,
    #[cfg(feature = "otlp-tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    kept: Option<Channel>,
    /// Made at the first request: it must not be dropped by a thread that has another one, as a program's own may.
    runtime: Option<Runtime>,
}

/// A connection, and the task that reads and writes it.
struct Channel {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl GrpcClient {
    /// `service` is the full name of a service of OTLP.
    pub(super) fn new(collector: &Collector, service: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidCollector, why.to_owned());
        let url = Url::parse(&collector.url, Some(PORT))?;
        if url.path != "/" {
            return Err(invalid("address of the collector has a path, which gRPC has no use for"));
        }
        let uri = Uri::builder()
            .scheme(if url.is_tls { "https" } else { "http" })
            .authority(url.authority())
            .path_and_query(format!("/{service}/Export"))
            .build();
        let uri = uri.map_err(|_| invalid("address of the collector has a host that is none"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &collector.headers {
            let value = HeaderValue::from_str(value).map_err(|_| no_header(name))?;
            headers.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| no_header(name))?, value);
        }
        // A token must not end up in the tables by which HTTP/2 shortens what comes again.
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let agent = concat!("ops-telemetry/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        Ok(Self {
            #[cfg(feature = "otlp-tls")]
            tls: if url.is_tls { Some(super::tls::config(collector, b"h2")?) } else { None },
            url,
            uri,
            headers,
            kept: None,
            runtime: None,
        })
    }

    async fn call(&mut self, body: &Bytes, until: Instant) -> io::Result<Answer> {
        let is_used = self.kept.is_some();
        let answer = self.exchange(body.clone(), until).await;
        // The other side may close a connection that rests at any time: that is no answer yet.
        if is_used && answer.is_err() { self.exchange(body.clone(), until).await } else { answer }
    }

    async fn exchange(&mut self, body: Bytes, until: Instant) -> io::Result<Answer> {
        let mut channel = match self.kept.take() {
            Some(channel) => channel,
            None => self.connect(until).await?,
        };
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert("grpc-timeout", timeout(until)?);
        channel.requests = channel.requests.clone().ready().await.map_err(broken)?;
        let (response, mut stream) = channel.requests.send_request(request, false).map_err(broken)?;
        // What the window of the other side does not let through yet is kept by the connection.
        stream.send_data(body, true).map_err(broken)?;
        let (head, mut body) = response.await.map_err(broken)?.into_parts();
        let mut data = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(broken)?;
            body.flow_control().release_capacity(piece.len()).map_err(broken)?;
            data.extend_from_slice(&piece);
            if data.len() > MAX_ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
            }
        }
        let trailers = body.trailers().await.map_err(broken)?;
        self.kept = Some(channel);
        Ok(Answer::read(head.status.as_u16(), trailers.as_ref().unwrap_or(&head.headers), &data))
    }

    async fn connect(&self, until: Instant) -> io::Result<Channel> {
        let stream = dial(&self.url, until)?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        #[cfg(feature = "otlp-tls")]
        if let Some(config) = &self.tls {
            let name =
                rustls::pki_types::ServerName::try_from(self.url.host.clone()).map_err(io::Error::other)?;
            return handshake(
                tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await?,
            )
            .await;
        }
        handshake(stream).await
    }
}

impl Client for GrpcClient {
    fn post(&mut self, body: &[u8], until: Instant) -> Sent {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return Sent::Unanswered(error.to_string()),
            },
        };
        let message = message(body);
        let answer = runtime.block_on(async {
            tokio::time::timeout_at(until.into(), self.call(&message, until)).await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time"))
            })
        });
        self.runtime = Some(runtime);
        match answer {
            Ok(answer) => answer.judge(),
            Err(error) => Sent::Unanswered(error.to_string()),
        }
    }

    fn address(&self) -> String {
        self.url.authority()
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> io::Result<Channel> {
    let (requests, connection) =
        h2::client::Builder::new().enable_push(false).handshake(stream).await.map_err(broken)?;
    // What ends the connection ends the request too, which says why.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Channel { requests, driver })
}

/// Frames a message: not compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
fn message(body: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(body.len() + 5);
    framed.push(0);
    // A batch is bounded far below this.
    framed.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(body);
    framed.into()
}

/// Tells the collector how long an answer is waited for: at most eight digits, here of milliseconds.
fn timeout(until: Instant) -> io::Result<HeaderValue> {
    let left = super::socket::left(until)?.as_millis().clamp(1, 99_999_999);
    HeaderValue::from_str(&format!("{left}m")).map_err(io::Error::other)
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::other(error.to_string())
}
