//! Pages for what can go wrong at the authorization endpoint and after it, in plain words.

use http::StatusCode;

use crate::authorization_server::clients::document::DocumentFault;
use crate::browser::consent::ConsentFault;
use crate::pages::{Link, Problem};

/// The client's request is at fault: shown to the person, never redirected, because an attacker can
/// register a client whose redirect URI is theirs.
pub fn bad_request(what: impl Into<String>) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        title: "This sign-in can't begin",
        what: what.into(),
        advice: "The application that opened this page made a mistake. Try again from there; if it \
                 goes on, tell whoever makes it.",
        links: Vec::new(),
    }
}

/// Two replicas, each with a store of its own, and a browser that talks with both.
pub fn elsewhere() -> Problem {
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "This sign-in can't go on",
        what: "It was begun at another copy of this server, and the copies don't share what they know."
            .to_owned(),
        advice: "Trying again may help by chance. Ask whoever runs this server to set state.redis, \
                 which several copies need.",
        links: Vec::new(),
    }
}

pub fn unknown_client() -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        title: "This application is not known here any more",
        what: "The registration that your application uses is not valid.".to_owned(),
        advice: "Remove this server in your application and add it again: it then registers anew.",
        links: Vec::new(),
    }
}

/// The client is known by a document, which is no help. What exactly went wrong with fetching it is for
/// the log alone: it could tell a stranger what there is in our network.
pub fn document(fault: &DocumentFault) -> Problem {
    let what = match fault {
        DocumentFault::Unfetched(_) => return unreachable_document(),
        DocumentFault::Off | DocumentFault::NotAllowed(_) => {
            "Whoever runs this server has not allowed applications from there.".to_owned()
        }
        DocumentFault::NotAClientId(_) => {
            format!("The address by which your application names itself is not valid: {fault}.")
        }
        DocumentFault::Invalid(_) => format!(
            "The document by which your application says who it is can't be accepted: {fault}."
        ),
    };
    let advice = match fault {
        DocumentFault::Off | DocumentFault::NotAllowed(_) => {
            "If you need this application, ask whoever runs this server to allow it."
        }
        DocumentFault::NotAClientId(_)
        | DocumentFault::Invalid(_)
        | DocumentFault::Unfetched(_) => {
            "Only whoever makes the application can mend that: tell them what stands here."
        }
    };
    let title = "This application can't be used here";
    Problem { status: StatusCode::BAD_REQUEST, title, what, advice, links: Vec::new() }
}

fn unreachable_document() -> Problem {
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Your application could not be checked",
        what: "The document by which it says who it is can't be fetched right now.".to_owned(),
        advice: "Wait a minute and load this page again. If that does not help, ask whoever runs \
                 this server: its log says why.",
        links: Vec::new(),
    }
}

pub fn consent(fault: ConsentFault) -> Problem {
    let (status, what) = match fault {
        ConsentFault::NotOurs => (StatusCode::BAD_REQUEST, "The form that was sent is not valid."),
        ConsentFault::Expired => (StatusCode::BAD_REQUEST, "The page was open for too long."),
        ConsentFault::Spent => (StatusCode::BAD_REQUEST, "The form was sent before."),
        ConsentFault::AnotherBrowser => {
            (StatusCode::FORBIDDEN, "The form was not opened in this browser, or cookies are off.")
        }
        ConsentFault::AnotherSite => {
            (StatusCode::FORBIDDEN, "The form was sent from another web site.")
        }
        ConsentFault::Store(_) => return unavailable(),
    };
    start_again(status, what)
}

pub fn too_many() -> Problem {
    Problem {
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "Too many sign-ins were begun",
        what: "More were begun from your network, or altogether, than we can tell from an attack."
            .to_owned(),
        advice: "Wait a minute and try again.",
        links: Vec::new(),
    }
}

pub fn another_browser() -> Problem {
    start_again(
        StatusCode::FORBIDDEN,
        "This sign-in was not begun in this browser, or was finished before.",
    )
}

pub fn stale() -> Problem {
    start_again(StatusCode::BAD_REQUEST, "This sign-in took too long or was finished before.")
}

fn start_again(status: StatusCode, what: &str) -> Problem {
    Problem {
        status,
        title: "Please start again",
        what: what.to_owned(),
        advice: "Nothing has happened. Go back to your application and sign in again from there.",
        links: Vec::new(),
    }
}

pub fn unavailable() -> Problem {
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Signing in is not possible right now",
        what: "The service that checks who you are does not answer.".to_owned(),
        advice: "Wait a minute, then go back to your application and start again from there. What \
                 you are signed in to keeps working.",
        links: Vec::new(),
    }
}

pub fn misconfigured() -> Problem {
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Signing in does not work here yet",
        what: "This server and the service that checks who you are do not fit together.".to_owned(),
        advice: "Only whoever runs this server can mend that: its log says what is wrong.",
        links: Vec::new(),
    }
}

/// `another` begins the login anew, `back` tells the client.
pub fn not_allowed(who: &str, resource: &str, another: Option<String>, back: String) -> Problem {
    let another = another.map(|href| Link { href, text: "Sign in with another account" });
    let back = Link { href: back, text: "Go back to the application" };
    Problem {
        status: StatusCode::FORBIDDEN,
        title: "You are signed in, but you may not use this",
        what: format!(
            "You are signed in as {who}, who is not among the people who may use {resource}."
        ),
        advice: "If you think that you should be, ask whoever runs this server to add you.",
        links: another.into_iter().chain([back]).collect(),
    }
}
