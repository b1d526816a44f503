//! `machines:` clients of the IdP's that come for themselves (RFC 6749 §4.4, RFC 9700 §4.15).

use mcp_doorman::idp::ExpectedClaim;
use mcp_doorman::policy::AccessEntry;
use serde_json::json;

use crate::support::access_token::{IDP_KEY, of, of_alice, set_of, start};
use crate::support::assertion::Assertion;
use crate::support::doorman::{Builder, Doorman, ORIGIN, RESOURCE};
use crate::support::fake_idp::CLIENT_ID;
use crate::support::fake_mcp_server::FakeMcpServer;

fn entry(clients: &[&str]) -> AccessEntry {
    let clients = clients.iter().map(|client| (*client).to_owned()).collect();
    AccessEntry { clients, ..AccessEntry::default() }
}

fn alice() -> AccessEntry {
    AccessEntry { subjects: vec!["alice-7f3a".to_owned()], ..AccessEntry::default() }
}

async fn builder() -> Builder {
    let builder = Doorman::in_front_of(FakeMcpServer::start().await);
    builder
        .machines(ORIGIN, &["nightly", "weekly", "alice-7f3a"])
        .access(&[entry(&["nightly"]), alice()])
        .keys_of_the_idp(set_of(&[&IDP_KEY]))
}

/// What the IdP issues to a machine for itself.
fn machine(doorman: &Doorman, client: &str) -> Assertion {
    let token = of(doorman.idp(), client, doorman.now());
    token.claim("client_id", client).claim("aud", ORIGIN).without_claim("groups")
}

#[tokio::test]
async fn a_machine_comes_in_where_an_entry_names_it_whoever_issues_tokens_to_people() {
    let ours = builder().await.start().await;
    let theirs = start(builder().await).await;
    for doorman in [ours, theirs] {
        let call = async |token: Assertion| doorman.call(&token.signed_by(&IDP_KEY)).await.status;
        let nightly = || machine(&doorman, "nightly");

        assert_eq!(call(nightly()).await, 200);

        let told = doorman.upstream().only_request();
        assert_eq!(told.values("x-forwarded-user"), ["machine,nightly"]);
        assert!(told.values("x-forwarded-groups").is_empty());
        assert_eq!(call(nightly().claim("aud", json!(["x", ORIGIN]))).await, 200);
        // Listed, and no entry names it; not listed; for somebody else.
        assert_eq!(call(machine(&doorman, "weekly")).await, 403);
        assert_eq!(call(machine(&doorman, "yearly")).await, 401);
        assert_eq!(call(nightly().claim("aud", CLIENT_ID)).await, 401);
        assert_eq!(call(nightly().claim("aud", RESOURCE)).await, 401);
        assert_eq!(call(nightly().claim("aud", "https://tools.example.com/")).await, 401);
        assert_eq!(call(nightly().without_claim("aud")).await, 401);
        assert_eq!(call(nightly().claim("scope", "tools:read")).await, 403);
        assert_eq!(call(nightly().claim("nonce", "n")).await, 401);
        assert_eq!(doorman.upstream().received().len(), 2);
    }
}

/// RFC 9700 §4.15: a machine that is called as a person is, and a person who comes with a machine's client.
#[tokio::test]
async fn a_machine_is_never_a_person() {
    let doorman = start(builder().await).await;
    let call = async |token: Assertion| doorman.call(&token.signed_by(&IDP_KEY)).await.status;

    assert_eq!(call(machine(&doorman, "alice-7f3a")).await, 403);
    assert_eq!(call(machine(&doorman, "alice-7f3a").claim("aud", RESOURCE)).await, 401);
    assert_eq!(
        call(machine(&doorman, "alice-7f3a").claim("aud", json!([RESOURCE, ORIGIN]))).await,
        403
    );
    let bob = of(doorman.idp(), "bob", doorman.now());
    assert_eq!(call(bob.clone().claim("client_id", "nightly")).await, 403);
    assert_eq!(call(bob.claim("client_id", "nightly").claim("aud", ORIGIN)).await, 401);

    doorman.upstream().assert_untouched();
    assert_eq!(call(of_alice(&doorman)).await, 200);
}

/// Where we issue the tokens, a person's token of the IdP is not one of ours.
#[tokio::test]
async fn a_person_does_not_come_in_by_the_door_for_machines() {
    let doorman = builder().await.access(&[alice(), entry(&["nightly"])]).start().await;
    for token in [
        of_alice(&doorman),
        of_alice(&doorman).claim("aud", ORIGIN),
        of_alice(&doorman).claim("aud", ORIGIN).claim("client_id", "nightly"),
        of_alice(&doorman).claim("aud", ORIGIN).without_claim("client_id"),
    ] {
        doorman.call(&token.signed_by(&IDP_KEY)).await.assert_status(401);
    }
    doorman.upstream().assert_untouched();
}

/// The marks are the provider's own: all of them, or it is none.
#[tokio::test]
async fn the_marks_of_a_machine_are_data() {
    let mark =
        |name: &str, value: &str| ExpectedClaim { name: name.to_owned(), value: value.to_owned() };
    let marks = vec![mark("idtyp", "app"), mark("user", "service-account-{client_id|lower}")];
    let doorman = builder().await.access_tokens(|own| own.machine = marks).start().await;
    let token = || machine(&doorman, "nightly").claim("sub", "5f0c");
    for (token, status) in [
        (token().claim("idtyp", "app").claim("user", "service-account-nightly"), 200),
        (token().claim("idtyp", "app"), 401),
        (token().claim("user", "service-account-nightly"), 401),
        (token().claim("idtyp", "user").claim("user", "service-account-nightly"), 401),
        (token().claim("idtyp", true).claim("user", "service-account-nightly"), 401),
        (token().claim("idtyp", "app").claim("user", "service-account-weekly"), 401),
        (token().claim("sub", "nightly"), 401),
    ] {
        let answer = doorman.call(&token.signed_by(&IDP_KEY)).await;
        assert_eq!(answer.status, status, "{}", token.claims);
    }
}
