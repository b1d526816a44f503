//! The challenge: how a client without a good token learns where to get one (RFC 6750 §3, RFC 9728 §5.1).

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::oauth::ErrorCode;
use crate::policy::Resource;
use crate::protected_resource::metadata;
use crate::wire::answer::{FORBIDDEN, INVALID_REQUEST, UNAUTHORIZED, UNAVAILABLE};
use crate::wire::{Response, answer};

/// The challenges of one resource, written once.
#[derive(Debug)]
pub struct Challenges {
    pub(super) no_credentials: HeaderValue,
    invalid_token: HeaderValue,
    insufficient_scope: HeaderValue,
}

/// A resource whose URL can't stand in a header. Its URL was checked, so this names a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("the challenge can't be written as a header")]
pub struct Unwritable;

impl Challenges {
    pub fn of(resource: &Resource) -> Result<Self, Unwritable> {
        Ok(Self {
            no_credentials: challenge(resource, None)?,
            invalid_token: challenge(resource, Some(ErrorCode::InvalidToken))?,
            insufficient_scope: challenge(resource, Some(ErrorCode::InsufficientScope))?,
        })
    }

    /// R1. RFC 6750 §3.1: without credentials no error code.
    pub fn no_credentials(&self) -> Response {
        let text = "this server needs you to sign in";
        challenged(StatusCode::UNAUTHORIZED, UNAUTHORIZED, text, &self.no_credentials)
    }

    /// Put the challenge into an answer of the upstream's that is 401. It must have one (RFC 9110 §15.5.2), and a server
    /// behind us knows none that leads anywhere.
    pub fn complete<B>(&self, answer: &mut http::Response<B>) {
        if answer.status() == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, self.no_credentials.clone());
        }
    }

    /// R2. The same bytes whatever was wrong: a reason would help only a forger.
    pub fn invalid_token(&self) -> Response {
        let text = "the access token is not valid here or no longer";
        challenged(StatusCode::UNAUTHORIZED, UNAUTHORIZED, text, &self.invalid_token)
    }

    /// R3. Names every scope of the resource at once, so that one more login is enough.
    pub fn insufficient_scope(&self) -> Response {
        let text = "the access token lacks a scope that this server needs";
        challenged(StatusCode::FORBIDDEN, FORBIDDEN, text, &self.insufficient_scope)
    }
}

/// The person is not among those who may use the resource. No challenge: another login of theirs would
/// end here again, and clients would try for ever.
pub fn not_allowed() -> Response {
    answer::json_rpc_error(
        StatusCode::FORBIDDEN,
        FORBIDDEN,
        "you are signed in, but you are not allowed to use this server",
    )
}

/// R4. We could not judge the token: it may be good.
pub fn unjudged() -> Response {
    let mut response = answer::json_rpc_error(
        StatusCode::SERVICE_UNAVAILABLE,
        UNAVAILABLE,
        "the access token could not be checked right now",
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// RFC 6585 §4: too many bad tokens from where this one comes from. The caller adds `Retry-After`.
pub fn too_many() -> Response {
    answer::json_rpc_error(
        StatusCode::TOO_MANY_REQUESTS,
        UNAVAILABLE,
        "too many requests with bad access tokens, try again later",
    )
}

/// Credentials that no reading makes sense of: two of them, or none that are whole.
pub fn malformed() -> Response {
    answer::json_rpc_error(
        StatusCode::BAD_REQUEST,
        INVALID_REQUEST,
        "send one Authorization header with one bearer token",
    )
}

fn challenged(
    status: StatusCode,
    code: i32,
    text: &'static str,
    challenge: &HeaderValue,
) -> Response {
    let mut response = answer::json_rpc_error(status, code, text);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    response
}

/// Every value is quoted; none can hold a quote: URLs were parsed, scopes and codes have none.
fn challenge(resource: &Resource, error: Option<ErrorCode>) -> Result<HeaderValue, Unwritable> {
    let (origin, path) = (resource.url.origin(), metadata::path(&resource.url));
    let error = error.map(|error| format!("error=\"{}\", ", error.as_str())).unwrap_or_default();
    let scope = if resource.scopes.is_empty() {
        String::new()
    } else {
        format!(", scope=\"{}\"", resource.scopes)
    };
    let text = format!("Bearer {error}resource_metadata=\"{origin}{path}\"{scope}");
    HeaderValue::from_str(&text).map_err(|_| Unwritable)
}
