//! The token that callers show, compared in constant time.

use rand::RngExt;
use ring::hmac;

use crate::Secret;

/// What a caller must show: `Authorization: Bearer TOKEN`. Both sides are hashed with a key that
/// nobody knows before they are compared, so the time it takes says nothing about the token.
#[derive(Clone)]
pub struct Token {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    /// The token that a secret holds.
    pub fn new(secret: &Secret) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::rng().random::<[u8; 32]>());
        let tag = hmac::sign(&key, secret.expose().as_bytes());
        Self { key, tag }
    }

    /// Whether the value of an `Authorization` header shows this token.
    pub fn is_shown_by(&self, authorization: &[u8]) -> bool {
        let shown = authorization.strip_prefix(b"Bearer ");
        shown.is_some_and(|shown| hmac::verify(&self.key, shown, self.tag.as_ref()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token::new(&Secret::new("secret".to_owned()));
        assert!(token.is_shown_by(b"Bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret", ""] {
            assert!(!token.is_shown_by(wrong.as_bytes()), "{wrong}");
        }
    }
}
