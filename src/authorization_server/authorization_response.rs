//! The answer that the browser carries to the client (OAuth 2.1 §4.1.2), always with `iss` (RFC 9207 §2).

use crate::authorization_server::AuthorizationServer;
use crate::browser::AuthorizationRequest;
use crate::oauth::ErrorCode;
use crate::wire::RequestId;

/// What the client is told.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    Code(&'a str),
    /// With the request id, under which our log says what went wrong.
    Error(ErrorCode, RequestId),
}

/// The client's redirect URI with the answer in its query. `state` comes back if it was sent.
pub fn location(
    server: &AuthorizationServer,
    request: &AuthorizationRequest,
    outcome: Outcome<'_>,
) -> String {
    let description;
    let mut parameters = match outcome {
        Outcome::Code(code) => vec![("code", code)],
        Outcome::Error(error, request) => {
            description = format!("{} (request id {request})", in_words(error));
            vec![("error", error.as_str()), ("error_description", description.as_str())]
        }
    };
    parameters.push(("iss", server.issuer.as_str()));
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    request.redirect_uri.with(&parameters)
}

/// For a person whose client shows it; the IdP's own words are not repeated.
const fn in_words(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::AccessDenied => "signing in was cancelled or not allowed",
        ErrorCode::TemporarilyUnavailable => "signing in is not possible right now",
        ErrorCode::InsufficientScope
        | ErrorCode::InvalidClient
        | ErrorCode::InvalidClientMetadata
        | ErrorCode::InvalidGrant
        | ErrorCode::InvalidRedirectUri
        | ErrorCode::InvalidRequest
        | ErrorCode::InvalidScope
        | ErrorCode::InvalidTarget
        | ErrorCode::InvalidToken
        | ErrorCode::ServerError
        | ErrorCode::UnsupportedGrantType => {
            "signing in failed, see the log of the server's sidecar"
        }
    }
}
