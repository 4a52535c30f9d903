//! The token that clients show.

use service::{Secret, Token};
use tonic::{Request, Status, service::Interceptor};

/// Checks `authorization: Bearer <token>`.
#[derive(Clone)]
pub(super) struct Auth {
    token: Option<Token>,
}

impl Auth {
    pub(super) fn new(token: Option<&Secret>) -> Self {
        Self { token: token.map(Token::new) }
    }
}

impl Interceptor for Auth {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(token) = &self.token else { return Ok(request) };
        let shown = request.metadata().get("authorization");
        if shown.is_some_and(|shown| token.is_shown_by(shown.as_bytes())) {
            Ok(request)
        } else {
            Err(Status::unauthenticated("the token is missing or wrong: set it under `token`"))
        }
    }
}
