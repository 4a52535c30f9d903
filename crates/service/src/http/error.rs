//! The form of every refusal: `{"error":{"code","message","remedy"}}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// A request that is refused.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    remedy: String,
}

impl ApiError {
    /// A refusal: what is wrong, and what to do about it.
    pub fn new(status: StatusCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, message: message.into(), remedy: remedy.into() }
    }

    /// The status in words, for programs.
    fn code(&self) -> String {
        let reason = self.status.canonical_reason().unwrap_or("error");
        reason.to_ascii_lowercase().replace(' ', "_")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let body = json!({
            "error": { "code": code, "message": self.message, "remedy": self.remedy }
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
