//! Errors of the endpoints that clients call themselves: JSON as RFC 6749 §5.2 has it.

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::oauth::ErrorCode;
use crate::wire::form::Repeated;
use crate::wire::{Arrival, Response, answer};

/// What the client is told: a registered code, and a sentence for whoever reads its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: ErrorCode,
    pub description: &'static str,
    challenge: Option<&'static str>,
    /// client, idp, store or us.
    whose_fault: &'static str,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl Refused {
    pub const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { code, description, challenge: None, whose_fault: "client" }
    }

    /// Something that we need is down; nothing was spent. Never `invalid_grant`, which would end a login.
    pub const fn unavailable(whose_fault: &'static str, description: &'static str) -> Self {
        let code = ErrorCode::TemporarilyUnavailable;
        Self { code, description, challenge: None, whose_fault }
    }

    /// RFC 6749 §5.2: who tried to authenticate by `Authorization` is challenged for the same scheme.
    /// Nobody else is: a browser would ask a person for a password.
    pub fn challenging_basic(self) -> Self {
        Self { challenge: Some("Basic realm=\"oauth\""), ..self }
    }

    /// Answer with it, and say in the log what was refused.
    pub fn answer(self, what: &'static str, arrival: Arrival) -> Response {
        let Self { description: fault, whose_fault, .. } = self;
        let (request_id, error) = (arrival.id, self.code.as_str());
        if self.code == ErrorCode::TemporarilyUnavailable {
            tracing::error!(%request_id, error, fault, whose_fault, "{what} not answered");
        } else {
            tracing::info!(%request_id, error, fault, whose_fault, "{what} refused");
        }
        self.into_response()
    }

    /// RFC 6749 §5.2: 400, and 401 for `invalid_client`, which makes clients register again.
    fn into_response(self) -> Response {
        let status = match self.code {
            ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::InsufficientScope
            | ErrorCode::InvalidClientMetadata
            | ErrorCode::InvalidGrant
            | ErrorCode::InvalidRedirectUri
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidScope
            | ErrorCode::InvalidTarget
            | ErrorCode::InvalidToken
            | ErrorCode::UnauthorizedClient
            | ErrorCode::UnsupportedGrantType => StatusCode::BAD_REQUEST,
        };
        let body = ErrorBody { error: self.code.as_str(), error_description: self.description };
        let mut response = answer::private_json(status, &body);
        let headers = response.headers_mut();
        if let (ErrorCode::InvalidClient, Some(challenge)) = (self.code, self.challenge) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.code == ErrorCode::TemporarilyUnavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// RFC 6585 §4. The caller adds `Retry-After`.
pub fn too_many() -> Response {
    let body = ErrorBody {
        error: ErrorCode::TemporarilyUnavailable.as_str(),
        error_description: "too many requests, try again later",
    };
    answer::private_json(StatusCode::TOO_MANY_REQUESTS, &body)
}

/// RFC 6749 §3.2: a parameter that came twice.
impl From<Repeated> for Refused {
    fn from(_: Repeated) -> Self {
        Self::new(ErrorCode::InvalidRequest, "a parameter was sent more than once")
    }
}

pub const UNAVAILABLE: Refused = Refused::unavailable("store", "try again in a few seconds");
/// Two replicas, each with a store of its own, and a client that talks with both.
pub const ELSEWHERE: Refused = Refused::unavailable(
    "us",
    "this login is kept by another instance: with several, the operator has to set state.redis",
);
pub const OVERLOADED: Refused = Refused::unavailable("us", "too much is under way, try again soon");
