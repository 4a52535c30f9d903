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
    code: Option<&'static str>,
    message: String,
    remedy: String,
    more: Vec<(&'static str, String)>,
}

impl ApiError {
    /// A refusal: what is wrong, and what to do about it.
    pub fn new(status: StatusCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { status, code: None, message, remedy, more: Vec::new() }
    }

    /// The same with a code that says more than the status.
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same with one more member in the error.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    /// Its own code, for programs, else the status in words.
    fn code(&self) -> String {
        if let Some(code) = self.code {
            return code.to_owned();
        }
        let reason = self.status.canonical_reason().unwrap_or("error");
        reason.to_ascii_lowercase().replace(' ', "_")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let mut body = json!({
            "error": { "code": code, "message": self.message, "remedy": self.remedy }
        });
        for (name, value) in self.more {
            body["error"][name] = value.into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
