//! The HTTP face: `/metrics`, `/healthz`, `/readyz`, `/api/v1/status`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use service::Secret;
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
        let token = Arc::new(token);
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/status", get(state))
            .fallback(not_found)
            .layer(from_fn_with_state(token, authorize))
            .with_state(status);
        Ok(Self { listener, router })
    }

    /// Serves until it is stopped.
    pub async fn serve(self, stop: CancellationToken) {
        let serve = axum::serve(self.listener, self.router);
        if let Err(error) = serve.with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, "the HTTP server failed");
        }
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

async fn not_found() -> Response {
    const PATHS: &str = "/metrics, /healthz, /readyz and /api/v1/status are here";
    failure(StatusCode::NOT_FOUND, "there is nothing at this path", PATHS)
}

/// Asks for the token, where one is set.
async fn authorize(
    State(token): State<Arc<Option<Secret>>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match token.as_ref() {
        Some(token) if !given.is_some_and(|given| token.equals(given)) => failure(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong",
            "send the header Authorization: Bearer <token>",
        ),
        _ => next.run(request).await,
    }
}

fn failure(code: StatusCode, message: &str, remedy: &str) -> Response {
    let name = code.canonical_reason().unwrap_or_default().to_ascii_lowercase().replace(' ', "-");
    let body = json!({"error": {"code": name, "message": message, "remedy": remedy}});
    (code, Json(body)).into_response()
}
