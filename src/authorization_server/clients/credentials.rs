//! What a client sends to say who it is, and to prove it (RFC 6749 §2.3): by `Authorization`, or in the form. Next:
//! `clients` looks for the client, and compares.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::form_urlencoded;

use crate::authorization_server::clients::assertion;
use crate::authorization_server::error::Refused;
use crate::oauth::ErrorCode;
use crate::secret::Secret;
use crate::wire::Form;

/// Not yet believed.
#[derive(Debug)]
pub struct Sent {
    pub client_id: String,
    pub proof: Proof,
}

#[derive(Debug)]
pub enum Proof {
    Nothing,
    /// As sent, and as decoded where clients differ.
    Secret(Vec<Secret>),
    Assertion(Secret),
}

/// Errors: none, more than one, or what can't be read.
pub fn read(headers: &HeaderMap, form: &Form) -> Result<Sent, Refused> {
    let client_id = form.one("client_id")?;
    let in_form = (form.one("client_secret")?, assertion::sent(form)?);
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let named = |client_id: Option<String>, proof| {
        client_id.map(|client_id| Sent { client_id, proof }).ok_or(NO_CLIENT)
    };
    match (lines.next(), lines.next(), in_form) {
        (None, _, (None, None)) => named(client_id.map(str::to_owned), Proof::Nothing),
        (None, _, (Some(secret), None)) => {
            named(client_id.map(str::to_owned), Proof::Secret(vec![Secret::new(secret.to_owned())]))
        }
        (None, _, (None, Some(text))) => named(
            assertion::client_id(client_id, text),
            Proof::Assertion(Secret::new(text.to_owned())),
        ),
        (Some(line), None, (None, None)) => {
            let sent = line.to_str().ok().and_then(basic).ok_or(UNREADABLE)?;
            match client_id {
                Some(other) if other != sent.client_id => Err(TWO_CLIENTS),
                _ => Ok(sent),
            }
        }
        // RFC 6749 §2.3: not more than one method in each request.
        (None, _, (Some(_), Some(_)))
        | (Some(_), Some(_), _)
        | (Some(_), None, (Some(_), _) | (None, Some(_))) => Err(TWO_METHODS),
    }
}

/// RFC 6749 §2.3.1 has both halves form-encoded; some clients send them raw. Our ids read the same
/// either way; the secret is tried both ways.
fn basic(line: &str) -> Option<Sent> {
    let (scheme, encoded) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = pair.split_once(':')?;
    let decoded = |text: &str| {
        // One that was sent raw ends nothing here: there is but one value.
        form_urlencoded::parse(format!("x={}", text.replace('&', "%26")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    Some(Sent {
        client_id: decoded(client_id),
        proof: match secret {
            "" => Proof::Nothing,
            secret => Proof::Secret([secret.to_owned(), decoded(secret)].map(Secret::new).into()),
        },
    })
}

const NO_CLIENT: Refused = Refused::new(ErrorCode::InvalidClient, "client_id is missing");
const TWO_METHODS: Refused =
    Refused::new(ErrorCode::InvalidRequest, "use one method of client authentication, not two");
const TWO_CLIENTS: Refused =
    Refused::new(ErrorCode::InvalidRequest, "client_id differs from the Authorization header");
const UNREADABLE: Refused =
    Refused::new(ErrorCode::InvalidClient, "the Authorization header is not Basic credentials");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6749 §2.3.1
    #[test]
    fn a_secret_is_read_both_ways_and_to_its_end() {
        for (pair, as_sent, decoded) in [
            ("a:b%20c+d", "b%20c+d", "b c d"),
            ("a:b&c%26d", "b&c%26d", "b&c&d"),
            ("a:&b", "&b", "&b"),
            ("a:b:c=d&e=f", "b:c=d&e=f", "b:c=d&e=f"),
        ] {
            let sent = basic(&format!("Basic {}", STANDARD.encode(pair))).unwrap();

            let Proof::Secret(candidates) = sent.proof else { panic!("{pair}") };
            assert_eq!(sent.client_id, "a");
            let candidates: Vec<&str> = candidates.iter().map(Secret::expose).collect();
            assert_eq!(candidates, [as_sent, decoded]);
        }
    }
}
