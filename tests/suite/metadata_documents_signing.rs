//! Clients that are known by a document and prove who they are by signing
//! (draft-ietf-oauth-client-id-metadata-document §6.2, `private_key_jwt`). How an assertion is judged is told
//! in `declared_clients`; this is about whose keys it is judged by.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use mcp_doorman::authorization_server::clients::document::Document;
use mcp_doorman::oauth::ClientIdUrl;
use mcp_doorman::outbound::Route;
use serde_json::{Value, json};

use crate::support::assertion::{Assertion, ClientKey};
use crate::support::client::{Client, Tokens};
use crate::support::document_host::{DOCUMENT, DocumentHost, Manner, document, known_by, raw};
use crate::support::doorman::{
    Doorman, Granted, HOUR, MINUTE, ORIGIN, RESOURCE, WEB_REDIRECT, code_form,
};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const KEYS: &str = "https://client.example/oauth/jwks.json";

static KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::p256("first"));
static NEXT: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::ed25519("next"));

#[tokio::test]
async fn a_client_that_signs_logs_in_by_its_document() {
    for (host, requests) in [(with_inline(&[&KEY]).await, 1), (with_uri(&[&KEY]).await, 2)] {
        let doorman = in_front_of(&host).await;
        let granted = doorman.authorize(&client()).await;

        let tokens = redeem(&doorman, &granted, &KEY).await.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        let tokens = refresh(&doorman, &tokens, &KEY).await.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        revoke(&doorman, &tokens, &KEY).await.assert_status(200);
        doorman.call(&tokens.access).await.assert_status(401);

        assert_eq!(host.requests().len(), requests, "each is asked for once");
    }
}

/// §6.2: what was issued to a client that signs is for nobody who does not
#[tokio::test]
async fn without_a_proof_nothing_is_had() {
    let host = with_inline(&[&KEY]).await;
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;

    doorman.exchange(&client(), &granted).await.assert_error(400, "invalid_grant");
    let unproved = client();
    let with_secret = [&code_form(&unproved, &granted, RESOURCE)[..], &[("client_secret", "x")]];
    doorman.token(&with_secret.concat()).await.assert_error(400, "invalid_grant");
    let tokens = redeem(&doorman, &granted, &KEY).await.tokens();
    doorman.refresh(&client(), &tokens.refresh).await.assert_error(400, "invalid_grant");
    doorman.revoke(&client(), &tokens.refresh).await.assert_error(400, "invalid_grant");
    doorman.revoke(&client(), &tokens.access).await.assert_error(400, "invalid_grant");

    // And nothing was burnt.
    doorman.call(&tokens.access).await.assert_status(200);
    refresh(&doorman, &tokens, &KEY).await.assert_status(200);
}

/// Not in a process that has never seen the document either.
#[tokio::test]
async fn after_a_restart_the_proof_is_still_wanted() {
    let host = with_uri(&[&KEY]).await;
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;
    let tokens = redeem(&doorman, &granted, &KEY).await.tokens();

    let doorman = doorman.restarted().await;
    doorman.revoke(&client(), &tokens.access).await.assert_error(400, "invalid_grant");
    doorman.call(&tokens.access).await.assert_status(200);
    revoke(&doorman, &tokens, &KEY).await.assert_status(200);

    doorman.call(&tokens.access).await.assert_status(401);
}

#[tokio::test]
async fn a_proof_that_is_not_by_the_client_is_none() {
    let host = with_inline(&[&KEY]).await;
    host.publish(
        "https://other.example/c.json",
        &signing(
            "https://other.example/c.json",
            &json!({
                "jwks": { "keys": [NEXT.jwk()] },
            }),
        ),
    );
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;
    let client = client();
    let form = code_form(&client, &granted, RESOURCE);
    let stranger = ClientKey::p256("first");
    let honest = || assertion(&doorman, &KEY);
    let used = honest().signed_by(&KEY);
    let mut listed = honest();
    let names = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    listed.claims = names.iter().map(|name| listed.claims[*name].clone()).collect();
    post(&doorman, "/token", &[("grant_type", "x"), ("client_id", DOCUMENT)], &used).await;

    let cases = [
        ("another's key of the same name", honest().signed_by(&stranger)),
        ("unsigned", honest().head("alg", "none").without_signature()),
        ("another audience", honest().claim("aud", "https://other.example").signed_by(&KEY)),
        ("expired", honest().claim("exp", doorman.now() - 60).signed_by(&KEY)),
        ("used before", used),
        (
            "another client's",
            Assertion::of("https://other.example/c.json", &NEXT, ORIGIN, doorman.now())
                .signed_by(&NEXT),
        ),
        ("claims without names", listed.signed_by(&KEY)),
        ("nothing", "x".to_owned()),
    ];
    for (what, text) in &cases {
        let answer = post(&doorman, "/token", &form, text).await;
        assert_eq!(answer.status, 401, "{what}\n{answer}");
        answer.assert_error(401, "invalid_client");
    }

    redeem(&doorman, &granted, &KEY).await.assert_status(200);
}

/// A client that says it is public has no proof to give.
#[tokio::test]
async fn an_assertion_of_a_public_client_is_refused() {
    let host = DocumentHost::of_a_client_at(WEB_REDIRECT).await;
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;

    redeem(&doorman, &granted, &KEY).await.assert_error(401, "invalid_client");

    doorman.exchange(&client(), &granted).await.assert_status(200);
}

/// What was issued while the document wanted no proof goes on as it was; what is issued now wants one.
#[tokio::test]
async fn a_client_that_begins_to_sign_keeps_its_logins() {
    let host = DocumentHost::of_a_client_at(WEB_REDIRECT).await;
    let doorman = in_front_of(&host).await;
    let before = doorman.log_in_with(client()).await;

    host.publish(DOCUMENT, &signing(DOCUMENT, &json!({ "jwks": { "keys": [KEY.jwk()] } })));
    doorman.later(2 * HOUR);
    let granted = doorman.authorize(&client()).await;

    doorman.refresh(&client(), &before.tokens.refresh).await.assert_status(200);
    doorman.exchange(&client(), &granted).await.assert_error(400, "invalid_grant");
    redeem(&doorman, &granted, &KEY).await.assert_status(200);
}

#[tokio::test]
async fn a_new_key_is_found_by_asking_once_more() {
    for is_inline in [true, false] {
        let host = if is_inline { with_inline(&[&KEY]).await } else { with_uri(&[&KEY]).await };
        let doorman = in_front_of(&host).await;
        let granted = doorman.authorize(&client()).await;
        let tokens = redeem(&doorman, &granted, &KEY).await.tokens();
        let before = host.requests().len();
        publish(&host, is_inline, &[&KEY, &NEXT]);

        // A moment after it was fetched, nobody is asked again.
        refresh(&doorman, &tokens, &NEXT).await.assert_error(401, "invalid_client");
        assert_eq!(host.requests().len(), before);
        doorman.later(Duration::from_secs(31));
        let tokens = refresh(&doorman, &tokens, &NEXT).await.tokens();
        assert_eq!(host.requests().len(), before + 1);
        let stranger = ClientKey::p256("a-third");
        for _ in 0..20 {
            refresh(&doorman, &tokens, &stranger).await.assert_error(401, "invalid_client");
        }
        refresh(&doorman, &tokens, &KEY).await.assert_status(200);

        assert_eq!(host.requests().len(), before + 1, "strangers made us ask");
    }
}

/// A key that was withdrawn counts until the set is read again, as its publisher allowed.
#[tokio::test]
async fn a_withdrawn_key_is_forgotten_in_due_time() {
    for is_inline in [true, false] {
        let host = if is_inline { with_inline(&[&KEY]).await } else { with_uri(&[&KEY]).await };
        let doorman = in_front_of(&host).await;
        let granted = doorman.authorize(&client()).await;
        let tokens = redeem(&doorman, &granted, &KEY).await.tokens();
        publish(&host, is_inline, &[&NEXT]);

        doorman.later(59 * MINUTE);
        let tokens = refresh(&doorman, &tokens, &KEY).await.tokens();
        doorman.later(2 * MINUTE);

        refresh(&doorman, &tokens, &KEY).await.assert_error(401, "invalid_client");
        refresh(&doorman, &tokens, &NEXT).await.assert_status(200);
    }
}

/// Whose keys can't be had is not refused for good, and nothing is burnt.
#[tokio::test]
async fn an_outage_of_the_publisher_costs_no_login() {
    let host = with_uri(&[&KEY]).await;
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;
    let published = "cache-control: max-age=3600\r\n";

    // Before the keys were ever fetched.
    host.behaves(raw("503 Down", ""));
    let answer = redeem(&doorman, &granted, &KEY).await;
    answer.assert_error(503, "temporarily_unavailable");
    answer.header("retry-after");
    host.behaves(Manner::Published(published));
    doorman.later(Duration::from_secs(31));
    let tokens = redeem(&doorman, &granted, &KEY).await.tokens();

    // While what is known still counts, for who has an unknown key and for who has not.
    host.behaves(raw("200 OK\r\ncontent-type: application/json", r#"{"keys":[]}"#));
    doorman.later(Duration::from_secs(31));
    refresh(&doorman, &tokens, &NEXT).await.assert_error(503, "temporarily_unavailable");
    let tokens = refresh(&doorman, &tokens, &KEY).await.tokens();

    // And when it does not any more.
    host.behaves(raw("200 OK\r\ncontent-type: text/html", "<html>"));
    doorman.later(HOUR);
    refresh(&doorman, &tokens, &KEY).await.assert_error(503, "temporarily_unavailable");
    host.behaves(Manner::Published(published));
    doorman.later(Duration::from_secs(31));
    refresh(&doorman, &tokens, &KEY).await.assert_status(200);
    // Strangers can cause this: no alarm.
    let log = doorman.log().lines();
    assert!(log.iter().all(|line| line["level"] != "ERROR"), "{log:?}");
}

/// §6.5: the same guard as for documents
#[tokio::test]
async fn keys_are_fetched_from_the_public_internet_only() {
    let inside: SocketAddr = "10.0.0.7:443".parse().unwrap();
    let host = with_uri(&[&KEY]).await;
    let keys = "https://keys.client.example/jwks.json";
    host.publish(DOCUMENT, &signing(DOCUMENT, &json!({ "jwks_uri": keys })));
    host.has_routes(
        "keys.client.example",
        vec![vec![Route { address: inside.ip(), dial: inside }]],
    );
    let doorman = in_front_of(&host).await;
    let granted = doorman.authorize(&client()).await;
    let before = host.connections().len();

    let answer = redeem(&doorman, &granted, &KEY).await;

    answer.assert_error(503, "temporarily_unavailable");
    assert!(!answer.text().contains("10.0.0.7"), "{answer}");
    assert_eq!(host.connections().len(), before);
    doorman.log().line_with("10.0.0.7").await;
}

#[tokio::test]
async fn who_may_not_publish_documents_is_not_asked_for_keys() {
    let host = DocumentHost::start().await;
    let elsewhere = json!({ "jwks_uri": "https://other.example/jwks.json" });
    host.publish(DOCUMENT, &signing(DOCUMENT, &elsewhere));
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let only = Some(vec!["client.example".to_owned()]);
    let doorman = builder.documents(|settings| settings.allowed_domains = only).start().await;

    let page = doorman.get(&doorman.authorization(&client()).url()).await;

    page.assert_page(400);
    assert!(page.text().contains("has not allowed"), "{page}");
    assert_eq!(host.lookups(), ["client.example"]);
}

/// Nobody makes us ask for the keys of somebody whom they don't even name.
#[tokio::test]
async fn nobody_is_asked_for_what_cannot_be_an_assertion() {
    let host = with_uri(&[&KEY]).await;
    let doorman = in_front_of(&host).await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", DOCUMENT)];
    let of_another = Assertion::of("https://other.example/c", &KEY, ORIGIN, doorman.now());

    for text in ["x", "a.b.c", &of_another.signed_by(&KEY)] {
        post(&doorman, "/token", &form, text).await.assert_error(401, "invalid_client");
    }
    for id in ["https://10.0.0.1/c", "http://client.example/c", "https://client.example"] {
        let text = Assertion::of(id, &KEY, ORIGIN, doorman.now()).signed_by(&KEY);
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", id)];
        post(&doorman, "/token", &form, &text).await.assert_error(401, "invalid_client");
    }

    assert!(host.lookups().is_empty() && host.connections().is_empty());
}

/// A document that the operator pinned is as good as one that was fetched.
#[tokio::test]
async fn the_keys_of_a_pinned_document_count() {
    let host = with_uri(&[&KEY]).await;
    let text = signing(DOCUMENT, &json!({ "jwks": { "keys": [KEY.jwk()] } })).to_string();
    let url = ClientIdUrl::parse(DOCUMENT).unwrap();
    let pinned = Document::parse(&url, text.as_bytes(), &[]).unwrap();
    let server = FakeMcpServer::start().await;
    let builder = Doorman::in_front_of(server).reading(&host);
    let doorman = builder.documents(|settings| settings.pinned = vec![(url, pinned)]).start().await;

    let granted = doorman.authorize(&client()).await;
    redeem(&doorman, &granted, &NEXT).await.assert_error(401, "invalid_client");
    redeem(&doorman, &granted, &KEY).await.assert_status(200);

    assert!(host.connections().is_empty());
}

/// RFC 8414 §2
#[tokio::test]
async fn the_metadata_lists_signing_where_documents_are_accepted() {
    let host = DocumentHost::start().await;
    let doorman = in_front_of(&host).await;
    let without = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let path = "/.well-known/oauth-authorization-server";

    let (with, without) = (doorman.get(path).await.json(), without.get(path).await.json());

    for endpoint in ["token", "revocation"] {
        let methods = format!("{endpoint}_endpoint_auth_methods_supported");
        let algorithms = format!("{endpoint}_endpoint_auth_signing_alg_values_supported");
        assert_eq!(with[&methods][0], "none", "clients look for it");
        assert!(with[&methods].as_array().unwrap().contains(&json!("private_key_jwt")));
        assert!(with[&algorithms].as_array().unwrap().contains(&json!("ES256")));
        assert!(!without[&methods].as_array().unwrap().contains(&json!("private_key_jwt")));
        assert_eq!(without.get(&algorithms), None);
    }
}

async fn in_front_of(host: &DocumentHost) -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).reading(host).start().await
}

fn client() -> Client {
    known_by(DOCUMENT, WEB_REDIRECT)
}

/// The document at `url` of a client that signs, with what it says of keys.
fn signing(url: &str, keys: &Value) -> Value {
    let mut document = document(url, &[WEB_REDIRECT]);
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    document
}

async fn with_inline(keys: &[&ClientKey]) -> DocumentHost {
    let host = DocumentHost::start().await;
    publish(&host, true, keys);
    host
}

async fn with_uri(keys: &[&ClientKey]) -> DocumentHost {
    let host = DocumentHost::start().await;
    host.publish(DOCUMENT, &signing(DOCUMENT, &json!({ "jwks_uri": KEYS })));
    publish(&host, false, keys);
    host
}

fn publish(host: &DocumentHost, is_inline: bool, keys: &[&ClientKey]) {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let keys = json!({ "keys": keys });
    if is_inline {
        host.publish(DOCUMENT, &signing(DOCUMENT, &json!({ "jwks": keys })));
    } else {
        host.publish(KEYS, &keys);
    }
}

fn assertion(doorman: &Doorman, key: &ClientKey) -> Assertion {
    Assertion::of(DOCUMENT, key, ORIGIN, doorman.now())
}

async fn redeem(doorman: &Doorman, granted: &Granted, key: &ClientKey) -> Exchange {
    let proof = assertion(doorman, key).signed_by(key);
    post(doorman, "/token", &code_form(&client(), granted, RESOURCE), &proof).await
}

async fn refresh(doorman: &Doorman, tokens: &Tokens, key: &ClientKey) -> Exchange {
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let proof = assertion(doorman, key).signed_by(key);
    post(doorman, "/token", &form, &proof).await
}

async fn revoke(doorman: &Doorman, tokens: &Tokens, key: &ClientKey) -> Exchange {
    let proof = assertion(doorman, key).signed_by(key);
    post(doorman, "/revoke", &[("token", tokens.refresh.as_str())], &proof).await
}

async fn post(doorman: &Doorman, path: &str, form: &[(&str, &str)], proof: &str) -> Exchange {
    let proof = [("client_assertion_type", JWT_BEARER), ("client_assertion", proof)];
    doorman.send(Request::post(path).form(&[form, &proof[..]].concat())).await
}
