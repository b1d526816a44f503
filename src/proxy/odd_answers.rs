//! Answers of upstreams that show that something is set up wrongly: told in the log, seldom.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::clock::Timestamp;
use crate::policy::Resource;
use crate::wire::Arrival;
use crate::wire::names::{MCP_METHOD, MCP_SESSION_ID};

/// What is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Oddity {
    Refuses,
    Redirects,
    NotThere,
    Fails,
}

/// When each was told last. There are as many as upstreams and oddities.
#[derive(Debug, Default)]
pub struct OddAnswers(Mutex<HashMap<(String, Oddity), Timestamp>>);

/// What an answer is judged by, kept while the request is on its way.
#[derive(Debug)]
pub struct Asked {
    method: Method,
    /// The session may have ended.
    in_session: bool,
    /// MCP 2026-07-28: the method may not be known.
    is_stateless: bool,
}

impl Asked {
    /// `is_message`: of the old transport, whose messages name their session in another way.
    pub fn by<B>(request: &Request<B>, is_message: bool) -> Self {
        let headers = request.headers();
        Self {
            method: request.method().clone(),
            in_session: is_message || headers.contains_key(&MCP_SESSION_ID),
            is_stateless: headers.contains_key(&MCP_METHOD),
        }
    }
}

impl OddAnswers {
    /// Tell it if `answer` is odd, each oddity of an upstream once in a while.
    pub fn note<B>(
        &self,
        asked: &Asked,
        answer: &Response<B>,
        resource: &Resource,
        arrival: Arrival,
    ) {
        let status = answer.status();
        if status.is_success() {
            return;
        }
        let Some(oddity) = Oddity::of(asked, status, answer.headers()) else { return };
        let url = resource.upstream.url.to_string();
        if !self.is_due((url.clone(), oddity), arrival.at) {
            return;
        }
        tracing::warn!(
            request_id = %arrival.id,
            resource = %resource.url,
            upstream = url,
            status = status.as_u16(),
            whose_fault = "upstream",
            "the upstream answered {}: {}",
            status.as_u16(),
            oddity.question(),
        );
    }

    fn is_due(&self, oddity: (String, Oddity), now: Timestamp) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.get(&oddity).is_none_or(|last| now >= last.after(PAUSE) || now < *last);
        if is_due {
            told.insert(oddity, now);
        }
        is_due
    }
}

impl Oddity {
    /// `None` for what MCP servers answer in the normal course of things.
    fn of(asked: &Asked, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
                Some(Self::Refuses)
            }
            StatusCode::NOT_FOUND if asked.in_session || asked.is_stateless && is_json(headers) => {
                None
            }
            // A server need not have a stream to GET, nor sessions to DELETE.
            StatusCode::METHOD_NOT_ALLOWED if asked.method != Method::POST => None,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(Self::NotThere),
            status if status.is_server_error() => Some(Self::Fails),
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                Some(Self::Redirects)
            }
            _ => None,
        }
    }

    const fn question(self) -> &'static str {
        match self {
            Self::Refuses => "does it ask for authentication itself, or accept only some Hosts?",
            Self::Redirects => "is the path of `upstream` right, a slash at its end included?",
            Self::NotThere => "is the path of `upstream` right?",
            Self::Fails => "its own log may say why",
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

const PAUSE: Duration = Duration::from_mins(1);
