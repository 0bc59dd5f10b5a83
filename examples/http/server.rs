//! An HTTP service with axum: each request is a span in its caller's trace, with metrics, and errors say which trace they
//! belong to.
//!
//! `cargo run -p ops-examples-http --bin example-http-server`, then `curl -i localhost:8080/orders/7`

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Path};
use axum::http::{Extensions, Response};
use axum::routing::get;
use ops_telemetry::Running;
use ops_telemetry::http::{Problem, ServerLayer};
use ops_telemetry::propagate::Trust;

fn main() -> ExitCode {
    // Installs telemetry, handles signals and panics, and delivers everything at the end.
    ops_telemetry::run(env!("CARGO_BIN_NAME"), env!("CARGO_PKG_VERSION"), serve)
}

#[expect(clippy::print_stdout, reason = "the address is the answer of this program")]
async fn serve(running: Running) -> anyhow::Result<()> {
    let telemetry = running.telemetry();
    // Whoever is on the same network may name our trace; a stranger's trace is linked to.
    let layer = ServerLayer::new(telemetry.metrics(), Trust::SameNetwork)?.peer(peer).route(route);
    let admin = telemetry.admin();
    let service = Router::new()
        .route("/orders/{id}", get(order))
        .layer(layer)
        .route_service("/metrics", admin.service())
        .route_service("/live", admin.service())
        .route_service("/ready", admin.service());
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    admin.check("listener").pass();
    let service = service.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(running.stopped()).await?;
    Ok(())
}

async fn order(Path(id): Path<u64>) -> Response<Body> {
    match find(id).await {
        Ok(order) => Response::new(order.into()),
        // The reason is for the log; the client is told the trace to ask for.
        Err(error) => Problem::internal(&error).into_response(),
    }
}

#[tracing::instrument]
async fn find(id: u64) -> Result<String, std::io::Error> {
    if id == 13 {
        return Err(std::io::Error::other("the row is locked"));
    }
    tracing::info!("order found");
    Ok(format!("order {id}\n"))
}

fn peer(request: &Extensions) -> Option<IpAddr> {
    request.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

fn route(request: &Extensions) -> Option<&str> {
    request.get::<MatchedPath>().map(MatchedPath::as_str)
}
