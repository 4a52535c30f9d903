//! `/api/v1/openapi.json`: describes this API as OpenAPI 3.1.

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
