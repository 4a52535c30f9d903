//! What the HTTP APIs of all programs share: who may call, how refusals look, how a server ends.

mod connections;
mod error;
pub mod guard;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::{from_fn, from_fn_with_state},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::connections::LIMITS;
pub use error::ApiError;
pub use guard::Guard;

/// How long requests may take that still run at a stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Serves until `stop`. Requests that run then get a few seconds more. The guard sees each request
/// first. The number of open connections is limited, and a client that stops in the middle of a
/// request is sent away.
pub async fn serve(listener: TcpListener, router: Router, guard: Guard, stop: CancellationToken) {
    let router = router
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(connections::take_in))
        .layer(from_fn_with_state(Arc::new(guard), guard::check));
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_DEADLINE).await;
    };
    tokio::select! {
        () = connections::serve(listener, router, LIMITS, stop.clone()) => {}
        () = too_late => {}
    }
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    let remedy = "use GET to look and POST to change something";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message, remedy)
}
