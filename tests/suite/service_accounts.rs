//! `grant_type=client_credentials`: machines that come for themselves (RFC 6749 §4.4).

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::assertion::{Assertion, ClientKey};
use crate::support::client::Client;
use crate::support::doorman::{Doorman, HOUR, ORIGIN, REDIRECT, RESOURCE, mcp_request};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

const SECRET: &str = "canary-machine-secret-0123456789";
static KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::ed25519("machine"));
const OTHER: &str = "https://tools.example.com/other";

fn accounts(resources: &str) -> String {
    format!(
        "  - {{ id: app, name: App, redirect_uris: [\"{REDIRECT}\"], secret: {{ insecure_inline: {SECRET} }} }}\n\
         service_accounts:\n\
         - {{ id: nightly, secret: {{ insecure_inline: {SECRET} }}, scopes: [\"tools:read\"]{resources} }}\n\
         - {{ id: signer, keys: {{ file: /jwks.json }} }}\n"
    )
}

async fn start() -> Doorman {
    start_with("tools:read").await
}

async fn start_with(scopes: &'static str) -> Doorman {
    let keys = json!({ "keys": [KEY.jwk()] });
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).scopes(scopes);
    builder.declaring(&accounts(""), &keys).start().await
}

async fn ask(doorman: &Doorman, more: &[(&str, &str)]) -> Exchange {
    let form =
        [("grant_type", "client_credentials"), ("client_id", "nightly"), ("client_secret", SECRET)];
    let form: Vec<_> = form.iter().chain(more).copied().collect();
    doorman.send(Request::post("/token").form(&form)).await
}

fn token(answer: &Exchange) -> String {
    answer.assert_status(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// RFC 6749 §4.4.3
#[tokio::test]
async fn a_service_account_gets_a_token_for_itself_and_no_refresh_token() {
    let doorman = start().await;

    let answer = ask(&doorman, &[("resource", RESOURCE)]).await;

    doorman.call(&token(&answer)).await.assert_status(200);
    let issued = answer.json();
    assert_eq!(issued["refresh_token"], Value::Null);
    assert_eq!(issued["expires_in"], 3600);
    assert_eq!(issued["scope"], "tools:read");
    let told = doorman.upstream().received().pop().unwrap();
    assert_eq!(told.values("x-forwarded-user"), ["service-account,nightly"]);
    assert!(told.values("x-forwarded-email").is_empty());
    assert!(told.values("x-forwarded-groups").is_empty());
    assert!(doorman.idp().asked("/token").is_empty(), "no person, so no IdP");
    doorman.later(HOUR + HOUR);
    doorman.call(&token(&answer)).await.assert_status(401);
}

/// RFC 6749 §2.3.1, RFC 7523 §2.2
#[tokio::test]
async fn it_proves_who_it_is_by_basic_in_the_form_or_by_a_signature() {
    let doorman = start().await;
    let pair = STANDARD.encode(format!("nightly:{SECRET}"));
    let basic = Request::post("/token")
        .header("authorization", &format!("Basic {pair}"))
        .form(&[("grant_type", "client_credentials")]);
    let assertion = Assertion::of("signer", &KEY, ORIGIN, doorman.now()).signed_by(&KEY);
    let signed = Request::post("/token").form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &assertion),
    ]);

    for request in [basic, signed] {
        let answer = doorman.send(request).await;
        doorman.call(&token(&answer)).await.assert_status(200);
    }
}

#[tokio::test]
async fn without_its_proof_it_gets_nothing() {
    let doorman = start().await;
    let mut seen = 0;

    for (id, secret) in [
        ("nightly", Some("canary-machine-secret-wrong-one")),
        ("nightly", Some("")),
        ("nightly", None),
        ("signer", None),
        ("signer", Some(SECRET)),
        ("nobody", Some(SECRET)),
    ] {
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", id)];
        form.extend(secret.map(|secret| ("client_secret", secret)));
        let answer = doorman.send(Request::post("/token").form(&form)).await;
        answer.assert_error(401, "invalid_client");
        seen += 1;
    }

    assert_eq!(seen, 6);
}

/// RFC 6749 §5.2: a client for people is no service account, however well it proves who it is.
#[tokio::test]
async fn a_client_for_people_gets_no_token_for_itself() {
    let doorman = start().await;
    let registered = doorman.register().await;
    let app =
        [("grant_type", "client_credentials"), ("client_id", "app"), ("client_secret", SECRET)];
    let public = [("grant_type", "client_credentials"), ("client_id", registered.id.as_str())];

    let app = doorman.send(Request::post("/token").form(&app)).await;
    let public = doorman.send(Request::post("/token").form(&public)).await;

    app.assert_error(400, "unauthorized_client");
    public.assert_error(400, "unauthorized_client");
}

/// And a service account is no client for people: it has nowhere to send them back to.
#[tokio::test]
async fn a_service_account_signs_nobody_in() {
    let doorman = start().await;
    let machine = Client { id: "nightly".to_owned(), redirect_uri: REDIRECT.to_owned() };

    let page = doorman.browser().open(&doorman.authorization(&machine).url()).await;

    page.assert_page(400);
}

/// RFC 6749 §3.3: the ceiling holds, asked for or not.
#[tokio::test]
async fn the_scopes_of_its_declaration_are_the_most_it_gets() {
    let doorman = start_with("tools:read tools:write").await;

    let all = ask(&doorman, &[]).await;
    let more = ask(&doorman, &[("scope", "tools:read tools:write")]).await;

    assert_eq!(all.assert_status(200).json()["scope"], "tools:read");
    more.assert_error(400, "invalid_scope");
    doorman.call(&token(&all)).await.assert_json_rpc_error(403);
}

/// RFC 8707 §2
#[tokio::test]
async fn it_gets_tokens_for_the_resources_that_it_may_use() {
    let server = FakeMcpServer::start().await;
    let other = FakeMcpServer::start().await;
    let only = format!(", resources: [\"{RESOURCE}\"]");
    let keys = json!({ "keys": [KEY.jwk()] });
    let builder = Doorman::in_front_of(server).scopes("tools:read").and_at(OTHER, &other);
    let doorman = builder.declaring(&accounts(&only), &keys).start().await;

    let unnamed = ask(&doorman, &[]).await;
    let refused = ask(&doorman, &[("resource", OTHER)]).await;

    doorman.call(&token(&unnamed)).await.assert_status(200);
    refused.assert_error(400, "invalid_target");
    let elsewhere = mcp_request(OTHER).bearer(&token(&unnamed));
    doorman.send(elsewhere).await.assert_status(401);
    other.assert_untouched();
}

/// Taken out of the config, it is out at once, with the tokens that it has.
#[tokio::test]
async fn an_account_that_is_gone_is_out() {
    let doorman = start().await;
    let token = token(&ask(&doorman, &[]).await);

    let doorman = doorman.restarted_with(|config| config.service_accounts.clear()).await;

    doorman.call(&token).await.assert_status(403);
    ask(&doorman, &[]).await.assert_error(401, "invalid_client");
}

/// RFC 7009
#[tokio::test]
async fn its_token_can_be_revoked() {
    let doorman = start().await;
    let token = token(&ask(&doorman, &[]).await);

    let form = [("token", token.as_str()), ("client_id", "nightly"), ("client_secret", SECRET)];
    doorman.send(Request::post("/revoke").form(&form)).await.assert_status(200);

    doorman.call(&token).await.assert_status(401);
}

/// RFC 8414 §2: told only where there is one.
#[tokio::test]
async fn metadata_tells_of_the_grant_where_there_is_an_account() {
    let with = start().await;
    let without = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let grants = |answer: Exchange| answer.json()["grant_types_supported"].clone();
    let path = "/.well-known/oauth-authorization-server";
    assert_eq!(
        grants(with.get(path).await),
        json!(["authorization_code", "refresh_token", "client_credentials"])
    );
    assert_eq!(grants(without.get(path).await), json!(["authorization_code", "refresh_token"]));
}
