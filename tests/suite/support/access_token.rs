//! Access tokens that the IdP issues as JWTs (RFC 9068), honest and forged.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::assertion::{Assertion, ClientKey};
use crate::support::doorman::{Builder, Doorman, RESOURCE};
use crate::support::fake_idp::{FakeIdp, Person};

/// What the IdP signs access tokens with, in these tests.
pub static IDP_KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::rsa("access-1"));
/// The MCP client, as the IdP knows it.
pub const EDITOR: &str = "editor";

/// A JWK Set.
pub fn set_of(keys: &[&ClientKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A Doorman whose tokens the IdP issues, and knows its keys.
pub async fn start(builder: Builder) -> Doorman {
    let doorman = builder.issued_by_the_idp().keys_of_the_idp(set_of(&[&IDP_KEY])).start().await;
    doorman.log().line_with("the IdP answers").await;
    doorman
}

/// Alice's, for the usual resource, before it is signed.
pub fn of_alice(doorman: &Doorman) -> Assertion {
    of(doorman.idp(), Person::alice().sub, doorman.now())
}

/// RFC 9068 §2.2
pub fn of(idp: &FakeIdp, sub: &str, now: u64) -> Assertion {
    let token = Assertion::of(EDITOR, &IDP_KEY, RESOURCE, now).head("typ", "at+jwt");
    token
        .claim("iss", idp.issuer())
        .claim("sub", sub)
        .claim("client_id", EDITOR)
        .claim("exp", now + 3600)
        .claim("scope", "tools:read tools:write")
        .claim("groups", json!(["engineers", "mcp-users"]))
}

/// `token` with its claims as `change` makes of them.
pub fn with(token: &Assertion, change: impl FnOnce(&mut Value)) -> Assertion {
    let mut token = token.clone();
    change(&mut token.claims);
    token
}
