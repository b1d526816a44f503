//! A client that proves who it is by an assertion (RFC 7521 §4.2, RFC 7523 §2.2): what it sends, and
//! whether it holds.

use std::sync::Arc;

use crate::authorization_server::clients::document::{Age, DocumentFault};
use crate::authorization_server::clients::{NOT_PROVED, UNKNOWN_CLIENT};
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::{AuthorizationServer, TOKEN, endpoint};
use crate::jose::client_assertion::{AssertionFault, Expected, claimed_subject};
use crate::jose::jws::NotSigned;
use crate::jose::{ClientAssertion, KeySet};
use crate::oauth::{ClientDigest, ErrorCode};
use crate::wire::{Arrival, Form};

/// The assertion in a form, if it has one.
pub fn sent(form: &Form) -> Result<Option<&str>, Refused> {
    match (form.one("client_assertion_type")?, form.one("client_assertion")?) {
        (None, None) => Ok(None),
        (Some(JWT_BEARER), Some(text)) => Ok(Some(text)),
        (Some(_), Some(_)) => Err(ANOTHER_TYPE),
        (Some(_), None) | (None, Some(_)) => Err(HALF),
    }
}

/// RFC 7521 §4.2: `client_id` may be left out beside an assertion, whose subject it is. Which client is
/// meant proves nothing yet.
pub fn client_id(in_form: Option<&str>, text: &str) -> Option<String> {
    in_form.map(str::to_owned).or_else(|| claimed_subject(text))
}

/// Is `text` signed with one of the client's keys, for us, and seen for the first time?
pub async fn check(
    server: &AuthorizationServer,
    client_id: &str,
    keys: &KeySet,
    text: &str,
    arrival: Arrival,
) -> Result<(), Refused> {
    let verified = verified(server, client_id, keys, text, arrival);
    spend(server, verified, ClientDigest::of(client_id), arrival).await
}

/// The same for a client whose keys its document tells. May have to ask whoever publishes them.
pub async fn check_published(
    server: &AuthorizationServer,
    client_id: &str,
    text: &str,
    arrival: Arrival,
) -> Result<(), Refused> {
    // For what can't be an assertion of this client nobody is asked.
    if claimed_subject(text).is_none_or(|subject| subject != client_id) {
        return Err(NOT_PROVED);
    }
    let keys = published(server, client_id, Age::Usual, arrival).await?;
    let mut checked = verified(server, client_id, &keys, text, arrival);
    if let Err(AssertionFault::NotSigned(NotSigned::KeyId)) = checked {
        // The client may have changed its keys since they were last asked for.
        let keys = published(server, client_id, Age::Seconds, arrival).await?;
        checked = verified(server, client_id, &keys, text, arrival);
    }
    spend(server, checked, ClientDigest::of_signing(client_id), arrival).await
}

async fn published(
    server: &AuthorizationServer,
    client_id: &str,
    age: Age,
    arrival: Arrival,
) -> Result<Arc<KeySet>, Refused> {
    let fault = match server.documents.keys(client_id, age).await {
        Ok(Some(keys)) => return Ok(keys),
        Ok(None) => return Err(NOT_PROVED),
        Err(fault) => fault,
    };
    // What is at the other end of a URL that anybody may name is for the log alone.
    let client_id: String = client_id.chars().take(200).collect();
    tracing::info!(request_id = %arrival.id, client_id, %fault, "no keys of a client");
    Err(match fault {
        DocumentFault::Off | DocumentFault::NotAClientId(_) | DocumentFault::NotAllowed(_) => {
            UNKNOWN_CLIENT
        }
        DocumentFault::Unfetched(_) | DocumentFault::Invalid(_) => NO_KEYS,
    })
}

fn verified(
    server: &AuthorizationServer,
    client_id: &str,
    keys: &KeySet,
    text: &str,
    arrival: Arrival,
) -> Result<ClientAssertion, AssertionFault> {
    let token_endpoint = endpoint(&server.issuer, TOKEN);
    let expected = Expected {
        client_id,
        // RFC 7523 §3 allows the token endpoint's URL for the server; its successor wants the issuer.
        audiences: &[server.issuer.as_str(), &token_endpoint],
        now: arrival.at,
    };
    ClientAssertion::verify(text, keys, expected)
}

async fn spend(
    server: &AuthorizationServer,
    verified: Result<ClientAssertion, AssertionFault>,
    client_id: ClientDigest,
    arrival: Arrival,
) -> Result<(), Refused> {
    let spent = match verified {
        Ok(assertion) => assertion.spend(&*server.store).await,
        Err(fault) => Err(fault),
    };
    spent.map_err(|fault| {
        if let AssertionFault::Store(_) = fault {
            return UNAVAILABLE;
        }
        tracing::info!(
            request_id = %arrival.id,
            %client_id,
            %fault,
            whose_fault = "client",
            "client assertion refused"
        );
        NOT_PROVED
    })
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const ANOTHER_TYPE: Refused = Refused::new(
    ErrorCode::InvalidClient,
    "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
);
/// Never `invalid_client`, which would end a login for an outage of whoever publishes the keys.
const NO_KEYS: Refused = Refused::unavailable(
    "client",
    "the client's keys can't be had now, try again in a few seconds",
);
const HALF: Refused = Refused::new(
    ErrorCode::InvalidRequest,
    "client_assertion and client_assertion_type belong together: send both",
);
