//! The answer that the browser carries to the client (OAuth 2.1 §4.1.2), always with `iss` (RFC 9207 §2).

use crate::authorization_server::AuthorizationServer;
use crate::browser::AuthorizationRequest;
use crate::wire::RequestId;

/// What the client is told.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    Code(&'a str),
    /// With the request id, under which our log says what went wrong.
    Error(AuthorizationError, RequestId),
}

/// Why a login that the person consented to ends without a code (OAuth 2.1 §4.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationError {
    AccessDenied,
    ServerError,
    TemporarilyUnavailable,
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
            description = format!("{} (request id {request})", error.in_words());
            vec![("error", error.code()), ("error_description", description.as_str())]
        }
    };
    parameters.push(("iss", server.issuer.as_str()));
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    request.redirect_uri.with(&parameters)
}

impl AuthorizationError {
    const fn code(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }

    /// For a person whose client shows it; the IdP's own words are not repeated.
    const fn in_words(self) -> &'static str {
        match self {
            Self::AccessDenied => "signing in was cancelled or not allowed",
            Self::ServerError => "signing in failed, see the log of the server's sidecar",
            Self::TemporarilyUnavailable => "signing in is not possible right now",
        }
    }
}
