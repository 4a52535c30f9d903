//! The HTTP server: `/metrics`, `/healthz`, `/readyz`, `/api/v1/status`, `/api/v1/reload`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use service::{
    Listen,
    http::{ApiError, Guard},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    reload::{Reloaded, Reloader},
    status::Status,
};

/// What the handlers need.
#[derive(Clone)]
struct Face {
    status: Arc<Status>,
    reloader: Arc<Reloader>,
}

/// A server that has its address and does not serve yet.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    guard: Guard,
}

impl HttpServer {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// Refused, when another process has the port.
    pub async fn bind(
        listen: &Listen,
        status: Arc<Status>,
        reloader: Arc<Reloader>,
    ) -> Result<Self> {
        let (listener, guard) = listen.bind().await.map_err(|error| {
            Error::refused(
                format!("cannot listen on {}: {error}", listen.address),
                "stop the program that has the port, or set another listen.address in dts.toml",
            )
        })?;
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/status", get(state))
            .route("/api/v1/reload", post(reload))
            .fallback(not_found)
            .with_state(Face { status, reloader });
        Ok(Self { listener, router, guard })
    }

    /// Serves until it is stopped.
    pub async fn serve(self, stop: CancellationToken) {
        service::http::serve(self.listener, self.router, self.guard, stop).await;
    }
}

async fn metrics(State(Face { status, .. }): State<Face>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], status.to_metrics()).into_response()
}

async fn state(State(Face { status, .. }): State<Face>) -> Response {
    Json(status.to_json()).into_response()
}

async fn ready(State(Face { status, .. }): State<Face>) -> Response {
    let body = Json(status.to_json());
    let code = if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, body).into_response()
}

async fn reload(State(Face { reloader, .. }): State<Face>) -> Result<Json<Reloaded>, ApiError> {
    let reloaded = reloader.reload().map_err(|mistakes| {
        let remedy = "correct the config file; the old one stays in force";
        ApiError::new(StatusCode::BAD_REQUEST, mistakes.to_string(), remedy)
    });
    reloaded.map(Json)
}

async fn not_found(uri: Uri) -> ApiError {
    const PATHS: &str =
        "/metrics, /healthz, /readyz, /api/v1/status and /api/v1/reload (POST) are here";
    ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()), PATHS)
}
