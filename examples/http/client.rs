//! HTTP requests with reqwest: each is a span of its own, and the server continues the trace.
//!
//! `cargo run -p ops-examples-http --bin example-http-client [URL]`; without a URL it starts `example-http-server` itself.

use std::io::{BufRead as _, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::{Request, Response};
use http_body_util::BodyExt;
use ops_telemetry::TraceContext;
use ops_telemetry::http::ClientLayer;
use tower_layer::Layer as _;
use tower_service::Service;
use tracing::Instrument as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let telemetry = ops_telemetry::init!()?;
    let (url, _server) = match std::env::args().nth(1) {
        Some(url) => (url, None),
        None => start_server()?,
    };
    let mut client = ClientLayer::new(telemetry.metrics())?.layer(Reqwest(reqwest::Client::new()));
    shop(&mut client, &url).instrument(tracing::info_span!("shopping")).await?;
    let report = telemetry.shutdown(Duration::from_secs(3));
    ensure!(report.is_complete, "lines are missing: {report:?}");
    Ok(())
}

async fn shop<S, B>(client: &mut S, url: &str) -> anyhow::Result<()>
where
    S: Service<Request<reqwest::Body>, Response = Response<B>, Error = reqwest::Error>,
    B: BodyExt<Error: std::fmt::Display>,
{
    let here = TraceContext::current().context("telemetry is installed")?.trace_id.to_string();
    for (path, status) in [("/orders/7", 200), ("/orders/13", 500)] {
        let request = Request::get(format!("{url}{path}")).body(reqwest::Body::default())?;
        let response = client.call(request).await?;
        ensure!(response.status() == status, "{path} is answered with {}", response.status());
        let told = response.headers().get("x-trace-id").context("the server tells its trace")?;
        ensure!(told == here.as_str(), "the server is in another trace: {told:?}");
        let body = response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let text = String::from_utf8(body.to_bytes().to_vec())?;
        ensure!(!text.contains("the row is locked"), "the client is told too much: {text}");
        ensure!(status == 200 || text.contains(&here), "the error does not name its trace: {text}");
        tracing::info!(path, status, answer = text.trim_end(), "answered");
    }
    Ok(())
}

/// The client of reqwest as a service that speaks `http`.
struct Reqwest(reqwest::Client);

impl Service<Request<reqwest::Body>> for Reqwest {
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<reqwest::Body>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { Ok(client.execute(request.try_into()?).await?.into()) })
    }
}

/// Ends the server with the client.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_server() -> anyhow::Result<(String, Option<Server>)> {
    let program = std::env::current_exe()?.with_file_name("example-http-server");
    let mut child = Command::new(program).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("stdout is a pipe")?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address =
        line.trim_end().strip_prefix("listening on ").context("the server says where it listens")?;
    Ok((format!("http://{address}"), Some(server)))
}
