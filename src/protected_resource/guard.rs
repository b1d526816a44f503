//! The guard: from a request to a permit, or to the answer that says why not.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::policy::{self, Admitted, Denied, Resource};
use crate::protected_resource::challenge;
use crate::protected_resource::challenge::Challenges;
use crate::token::{TokenFault, Verifier};
use crate::wire::{Arrival, Response};

/// Judge the credentials of a request to `resource`, before its method, `Accept` or body: clients probe
/// with whatever they like and wait for the challenge.
pub async fn admit(
    verifier: &Verifier,
    resource: &Arc<Resource>,
    challenges: &Challenges,
    headers: &HeaderMap,
    arrival: Arrival,
) -> Result<Admitted, Response> {
    let token = match bearer(headers) {
        Ok(token) => token,
        Err(NoBearer::Missing) => return Err(challenges.no_credentials()),
        Err(NoBearer::Repeated) => return Err(challenge::malformed()),
        Err(NoBearer::Unreadable) => return Err(challenges.invalid_token()),
    };
    let token = match verifier.verify(token, &resource.digest, arrival.at).await {
        Ok(token) => token,
        Err(TokenFault::Bad(reason)) => {
            tracing::info!(
                request_id = %arrival.id,
                resource = %resource.url,
                fault = %reason,
                "access token refused",
            );
            return Err(challenges.invalid_token());
        }
        Err(TokenFault::Unjudged(fault)) => {
            tracing::error!(
                request_id = %arrival.id,
                fault = %fault,
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
enum NoBearer {
    Missing,
    /// Two headers: which one counts would be a guess.
    Repeated,
    /// Another scheme, or not the characters of a token (RFC 6750 §2.1).
    Unreadable,
}

/// The one bearer token of the request. Tokens in the query or a form are not looked for (RFC 9700 §4.3).
fn bearer(headers: &HeaderMap) -> Result<&str, NoBearer> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let line = lines.next().ok_or(NoBearer::Missing)?;
    if lines.next().is_some() {
        return Err(NoBearer::Repeated);
    }
    let text = line.to_str().map_err(|_| NoBearer::Unreadable)?;
    let (scheme, token) = text.split_once(' ').ok_or(NoBearer::Unreadable)?;
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token68(token) {
        return Err(NoBearer::Unreadable);
    }
    Ok(token)
}

/// RFC 9110 §11.2 `token68`, which RFC 6750 §2.1 calls `b64token`.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

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
            (&["Bearer abc.def"][..], Ok("abc.def")),
            (&["bearer abc"], Ok("abc")),
            (&["BEARER abc=="], Ok("abc==")),
            (&[], Err(NoBearer::Missing)),
            (&["Bearer a", "Bearer b"], Err(NoBearer::Repeated)),
            (&["Bearer"], Err(NoBearer::Unreadable)),
            (&["Bearer "], Err(NoBearer::Unreadable)),
            (&["Bearer  abc"], Err(NoBearer::Unreadable)),
            (&["Bearer a b"], Err(NoBearer::Unreadable)),
            (&["Bearer a,Bearer b"], Err(NoBearer::Unreadable)),
            (&["Basic abc"], Err(NoBearer::Unreadable)),
            (&["Bearer\tabc"], Err(NoBearer::Unreadable)),
        ] {
            assert_eq!(bearer(&sent(lines)), expected, "{lines:?}");
        }
    }
}
