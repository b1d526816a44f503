//! The guard: from a request to a permit, or to the answer that says why not.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use crate::policy::{self, Admitted, Denied};
use crate::protected_resource::{ProtectedResource, challenge, connect};
use crate::token::verified::Unjudged;
use crate::token::{TokenFault, Verifier};
use crate::wire::{Arrival, Response};

/// Judge the credentials of a request to `resource`, before its method, `Accept` or body: clients probe
/// with whatever they like and wait for the challenge.
pub async fn admit(
    verifier: &Verifier,
    protected: &ProtectedResource,
    method: &Method,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Admitted, Response> {
    let ProtectedResource { resource, challenges, .. } = protected;
    let token = match bearer(headers) {
        Ok(token) => token,
        Err(NoBearer::Missing) if connect::is_for_a_person(method, headers) => {
            let html = protected.connect_page.clone();
            return Err(connect::page(html, &challenges.no_credentials));
        }
        Err(NoBearer::Missing) => return Err(challenges.no_credentials()),
        Err(NoBearer::Repeated) => return Err(challenge::malformed()),
        Err(NoBearer::Unreadable) => return Err(challenges.invalid_token()),
    };
    let token = match verifier.verify(token, &resource.audience, arrival.at).await {
        Ok(token) => token,
        Err(TokenFault::Bad(reason)) => {
            tracing::info!(
                request_id = %arrival.id,
                resource = %resource.url,
                fault = %reason,
                whose_fault = "client",
                "access token refused",
            );
            return Err(challenges.invalid_token());
        }
        Err(TokenFault::Unjudged(fault)) => {
            tracing::error!(
                request_id = %arrival.id,
                fault = %fault,
                whose_fault = match fault {
                    Unjudged::Store(_) => "store",
                    Unjudged::Keys | Unjudged::Introspection => "idp",
                },
                "access token could not be judged",
            );
            return Err(challenge::unjudged());
        }
    };
    let (grant, client) = (token.facts().grant, token.facts().client);
    policy::decide(token, resource).map_err(|denied| {
        tracing::info!(
            request_id = %arrival.id,
            grant_id = %grant,
            client_id = %client,
            fault = %denied,
            "request denied",
        );
        match denied {
            Denied::Scopes(_) => challenges.insufficient_scope(),
            Denied::Rules => challenge::not_allowed(),
            Denied::AnotherResource => challenges.invalid_token(),
        }
    })
}

#[derive(Debug, PartialEq, Eq)]
pub enum NoBearer {
    Missing,
    /// Two headers: which one counts would be a guess.
    Repeated,
    /// Another scheme, or nothing after it.
    Unreadable,
}

/// The one bearer token of the request (RFC 6750 §2.1). Whether its characters are a token's is the
/// verifier's question. Tokens in the query or a form are not looked for (RFC 9700 §4.3).
pub fn bearer(headers: &HeaderMap) -> Result<&[u8], NoBearer> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = lines.next().ok_or(NoBearer::Missing)?.as_bytes();
    if lines.next().is_some() {
        return Err(NoBearer::Repeated);
    }
    match line.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() => {
            Ok(token)
        }
        Some(_) | None => Err(NoBearer::Unreadable),
    }
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn sent(lines: &[&str]) -> HeaderMap {
        let pairs = lines.iter().map(|line| (AUTHORIZATION, HeaderValue::from_str(line).unwrap()));
        pairs.collect()
    }

    /// RFC 6750 §2.1, RFC 9110 §11.1
    #[test]
    fn exactly_one_bearer_token_is_read() {
        for (lines, expected) in [
            (&["Bearer abc.def"][..], Ok(&b"abc.def"[..])),
            (&["bearer abc"], Ok(b"abc")),
            (&["BEARER abc=="], Ok(b"abc==")),
            (&[], Err(NoBearer::Missing)),
            (&["Bearer a", "Bearer b"], Err(NoBearer::Repeated)),
            (&["Bearer"], Err(NoBearer::Unreadable)),
            (&["Bearer "], Err(NoBearer::Unreadable)),
            (&["Basic abc"], Err(NoBearer::Unreadable)),
            (&["Bearer\tabc"], Err(NoBearer::Unreadable)),
        ] {
            assert_eq!(bearer(&sent(lines)), expected, "{lines:?}");
        }
    }
}
