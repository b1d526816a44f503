//! The answer that the browser carries to the client (OAuth 2.1 §4.1.2), always with `iss` (RFC 9207 §2).

use crate::authorization_server::AuthorizationServer;
use crate::browser::AuthorizationRequest;
use crate::oauth::ErrorCode;

/// What the client is told.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    Code(&'a str),
    Error(ErrorCode),
}

/// The client's redirect URI with the answer in its query. `state` comes back if it was sent.
pub fn location(
    server: &AuthorizationServer,
    request: &AuthorizationRequest,
    outcome: Outcome<'_>,
) -> String {
    let outcome = match outcome {
        Outcome::Code(code) => ("code", code),
        Outcome::Error(error) => ("error", error.as_str()),
    };
    let mut parameters = vec![outcome, ("iss", server.issuer.as_str())];
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    request.redirect_uri.with(&parameters)
}
