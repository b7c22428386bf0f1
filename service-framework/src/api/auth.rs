//! Who may call: whoever shows this framework's own token.
//!
//! The master forwards calls with the token that the framework subscribed with, which both have anyway, and says in
//! `bourse-principal` for whom. People call the master; nobody else needs this port.

use std::sync::Arc;

use bourse_client::{TokenSource, bearer, same_secret};
use bourse_listener::Stranger;
use tonic::{Request, Status};

/// Compares the token of every call.
#[derive(Clone)]
pub(super) struct Gate {
    token: Option<TokenSource>,
}

impl Gate {
    /// Without a token, nobody may call.
    pub(super) fn new(token: Option<TokenSource>) -> Gate {
        Gate { token }
    }

    /// Lets a call in, and answers for whom it is made.
    pub(super) fn admit<T>(&self, request: &Request<T>) -> Result<String, Status> {
        // Read anew, as a token file may change under a running process; a call is rare beside that.
        let own = self.token.as_ref().and_then(|source| source.token().ok());
        let header = request.metadata().get("authorization");
        let shown = header.and_then(|value| bearer(value.as_bytes()));
        let right = match (&own, shown) {
            (Some(own), Some(shown)) => same_secret(own.expose(), shown),
            (None, _) | (_, None) => false,
        };
        if !right {
            return Err(Status::unauthenticated(
                "this port takes calls that the master forwards; call the master, with your own token",
            ));
        }
        if let Some(stranger) = request.extensions().get::<Arc<Stranger>>() {
            stranger.is_known_now();
        }
        let principal = request.metadata().get("bourse-principal").and_then(|value| value.to_str().ok());
        Ok(principal.unwrap_or("unknown").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bourse_client::Token;

    fn call(authorization: Option<&str>) -> Result<String, tonic::Code> {
        call_by(&Arc::default(), authorization)
    }

    fn call_by(stranger: &Arc<Stranger>, authorization: Option<&str>) -> Result<String, tonic::Code> {
        let gate = Gate::new(Some(TokenSource::Text(Token::new("a-long-enough-secret").expect("a token"))));
        let mut request = Request::new(());
        request.extensions_mut().insert(stranger.clone());
        request.metadata_mut().insert("bourse-principal", "alice".parse().expect("ascii"));
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().expect("ascii"));
        }
        gate.admit(&request).map_err(|status| status.code())
    }

    #[test]
    fn only_the_frameworks_own_token_opens_the_port() {
        for right in ["Bearer a-long-enough-secret", "bearer a-long-enough-secret"] {
            assert_eq!(call(Some(right)), Ok("alice".into()), "{right}");
        }
        for wrong in [None, Some("Bearer other"), Some("a-long-enough-secret"), Some("Bearer ")] {
            assert_eq!(call(wrong), Err(tonic::Code::Unauthenticated), "{wrong:?}");
        }
    }

    #[test]
    fn the_listener_hears_that_a_connection_has_shown_the_token() {
        let stranger = Arc::default();
        for (shown, known) in [("Bearer other", false), ("Bearer a-long-enough-secret", true)] {
            assert_eq!(call_by(&stranger, Some(shown)).is_ok(), known);
            assert_eq!(stranger.is_known(), known);
        }
    }

    #[test]
    fn without_a_token_of_its_own_the_port_is_shut() {
        assert!(Gate::new(None).admit(&Request::new(())).is_err());
    }
}
