//! The HTTP face: `/metrics`, `/healthz`, `/readyz`, `/api/v1/status`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use service::{
    Secret,
    http::{ApiError, Guard},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    status::Status,
};

/// A server that is bound to its address and not serving yet.
pub struct Server {
    listener: TcpListener,
    router: Router,
    guard: Guard,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// Refused, when another process has it.
    pub async fn bind(
        address: SocketAddr,
        token: Option<Secret>,
        status: Arc<Status>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Error::refused(
                format!("cannot listen on {address}: {error}"),
                "stop the program that has the port, or set another listen.address in dts.toml",
            )
        })?;
        let guard = Guard::new(address, token.as_ref());
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/status", get(state))
            .fallback(not_found)
            .with_state(status);
        Ok(Self { listener, router, guard })
    }

    /// Serves until it is stopped.
    pub async fn serve(self, stop: CancellationToken) {
        service::http::serve(self.listener, self.router, self.guard, stop).await;
    }
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], status.to_metrics()).into_response()
}

async fn state(State(status): State<Arc<Status>>) -> Response {
    Json(status.to_json()).into_response()
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let body = Json(status.to_json());
    let code = if status.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, body).into_response()
}

async fn not_found(uri: Uri) -> ApiError {
    const PATHS: &str = "/metrics, /healthz, /readyz and /api/v1/status are here";
    ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()), PATHS)
}
