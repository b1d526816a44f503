//! What is answered on the admin socket: which connections there are, ending them, draining the process. Who
//! can open the socket may do all of it. Nothing secret is told.

use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, StatusCode};

use crate::admin::draining::Draining;
use crate::admin::words::{CONNECTIONS, Choice, DRAIN, DrainEnd, DrainWish, REVOKE, Refused};
use crate::admin::{listing, revoking};
use crate::grants::Grants;
use crate::jose::json;
use crate::store::StoreFault;
use crate::wire::{Request, Response, answer, body};

#[derive(Debug)]
pub struct Control {
    /// By the config of this moment.
    pub grants: ArcSwap<Grants>,
    pub draining: Draining,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlFault {
    #[error("the request is not understood: docs/architecture.md says what is")]
    Malformed,
    #[error("a grant id has 32 hexadecimal digits; its first 12 are enough")]
    NoGrantId,
    #[error("no live connection is that one's")]
    NothingFound,
    #[error("several are called that: name one by its id")]
    Ambiguous(Vec<Choice>),
    #[error("the store does not answer, so nothing was done: try again when it does")]
    Store(#[from] StoreFault),
}

pub async fn answer(control: &Control, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path());
    let answered = match (path, method) {
        (CONNECTIONS, Method::GET) => listing::answer(&control.grants.load_full(), &request).await,
        (REVOKE, Method::POST) => revoking::answer(&control.grants.load_full(), request).await,
        (DRAIN, Method::POST) => drain(&control.draining, request).await,
        (CONNECTIONS, _) => return answer::method_not_allowed("GET"),
        (REVOKE | DRAIN, _) => return answer::method_not_allowed("POST"),
        _ => return answer::not_found(),
    };
    answered.unwrap_or_else(|fault| refuse(&fault))
}

/// Answered when it is over: preStop waits for that.
async fn drain(draining: &Draining, request: Request) -> Result<Response, ControlFault> {
    let body = body::read_whole(request.into_body(), LONGEST_WISH).await;
    let body = body.map_err(|_| ControlFault::Malformed)?;
    let wish: DrainWish = json::object(&body).map_err(|_| ControlFault::Malformed)?;
    draining.ask(Duration::from_secs(wish.within_seconds));
    let cut_short = draining.over().await;
    Ok(answer::json(StatusCode::OK, &DrainEnd { cut_short }))
}

fn refuse(fault: &ControlFault) -> Response {
    let (status, error, choices) = match fault {
        ControlFault::Malformed | ControlFault::NoGrantId => {
            (StatusCode::BAD_REQUEST, "invalid_request", Vec::new())
        }
        ControlFault::NothingFound => (StatusCode::NOT_FOUND, "nothing_found", Vec::new()),
        ControlFault::Ambiguous(choices) => (StatusCode::CONFLICT, "ambiguous", choices.clone()),
        ControlFault::Store(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", Vec::new())
        }
    };
    let (error, error_description) = (error.to_owned(), fault.to_string());
    answer::json(status, &Refused { error, error_description, choices })
}

/// Bytes.
const LONGEST_WISH: usize = 1024;
