//! A client that proves who it is by an assertion (RFC 7521 §4.2, RFC 7523 §2.2): what it sends, and
//! whether it holds.

use crate::authorization_server::clients::NOT_PROVED;
use crate::authorization_server::error::{Refused, UNAVAILABLE};
use crate::authorization_server::{AuthorizationServer, TOKEN, endpoint};
use crate::jose::client_assertion::{AssertionFault, Expected, claimed_subject};
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
    let token_endpoint = endpoint(&server.issuer, TOKEN);
    let expected = Expected {
        client_id,
        // RFC 7523 §3 allows the token endpoint's URL for the server; its successor wants the issuer.
        audiences: &[server.issuer.as_str(), &token_endpoint],
        now: arrival.at,
    };
    let verified = match ClientAssertion::verify(text, keys, expected) {
        Ok(assertion) => assertion.spend(&*server.store).await,
        Err(fault) => Err(fault),
    };
    verified.map_err(|fault| {
        if let AssertionFault::Store(_) = fault {
            return UNAVAILABLE;
        }
        tracing::info!(
            request_id = %arrival.id,
            client_id = %ClientDigest::of(client_id),
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
const HALF: Refused = Refused::new(
    ErrorCode::InvalidRequest,
    "client_assertion and client_assertion_type belong together: send both",
);
