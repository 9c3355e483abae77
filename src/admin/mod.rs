//! HTTP for operators: `/livez`, `/readyz`, `/metrics`, `/status`.

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::Registry;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{broker::Health, duplicates, telemetry::recorder};

const INDEX: &str = "inferq\n\n\
    /livez    200 while work that should flow does; else 503 and why\n\
    /readyz   200 while requests are taken; else 503 and why\n\
    /metrics  Prometheus\n\
    /status   everything that is known, as JSON\n";

/// Everything that is known of a worker. Holds no content of any request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    /// Version of inferq.
    pub version: &'static str,
    /// Version of ONNX Runtime; null until it is loaded.
    pub onnx_runtime: Option<String>,
    /// Seconds since start.
    pub uptime_s: f64,
    /// Why no requests are taken; null while they are.
    pub not_ready: Option<String>,
    /// Why the process should be replaced; null while it should not.
    pub not_live: Option<String>,
    /// Connections and queues; null until there is a broker to connect to.
    pub broker: Option<Health>,
    /// The duplicate store; null without one.
    pub duplicates: Option<duplicates::Health>,
    /// Live package versions.
    pub packages: Vec<PackageStatus>,
    /// Packages that did not go live.
    pub refused: Vec<RefusedStatus>,
}

/// A live package version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PackageStatus {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its files.
    pub digest: String,
    /// What its author should know.
    pub warnings: Vec<String>,
    /// Where it runs: `cpu`, `cuda:0`, `cuda:0+cuda:1`.
    pub device: String,
    /// Most rows that run together: the best measured size, or the package's own.
    pub batch: usize,
    /// Sessions that take work.
    pub sessions: usize,
    /// Cores that a run of each uses.
    pub threads: usize,
    /// Rows that wait for a batch.
    pub waiting_rows: usize,
    /// Batches that run.
    pub running_batches: usize,
    /// Seconds that a run has been going on which was stopped and does not end.
    pub hung_s: Option<f64>,
}

/// A package that did not go live.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RefusedStatus {
    /// Its directory.
    pub dir: String,
    /// What is wrong with it.
    pub faults: Vec<String>,
}

/// How the worker stands, asked anew at each request.
pub type Probe = Arc<dyn Fn() -> Status + Send + Sync>;

#[derive(Clone)]
struct Admin {
    metrics: Registry,
    probe: Probe,
}

/// Answers until `shutdown`. `probe` also brings gauges up to date.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    metrics: Registry,
    probe: Probe,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route(
            "/livez",
            get(|State(admin): State<Admin>| async move { verdict((admin.probe)().not_live) }),
        )
        .route(
            "/readyz",
            get(|State(admin): State<Admin>| async move { verdict((admin.probe)().not_ready) }),
        )
        .route(
            "/status",
            get(|State(admin): State<Admin>| async move { Json((admin.probe)()) }),
        )
        .route("/metrics", get(render))
        .fallback(|| async { (StatusCode::NOT_FOUND, INDEX) })
        .with_state(Admin { metrics, probe });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

fn verdict(reason: Option<String>) -> (StatusCode, String) {
    match reason {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn render(State(admin): State<Admin>) -> Response {
    // For its side effect on the gauges.
    (admin.probe)();
    match recorder::render(&admin.metrics) {
        Ok(page) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
