//! The store is away: who needs it is told to come again, and can, with the same words.

use mcp_doorman::store::StateSettings;
use serde_json::json;

use crate::servers::{Server, single, soon_async};
use crate::support::assertion::{Assertion, ClientKey};
use crate::support::client::Client;
use crate::support::doorman::{Builder, Doorman, ORIGIN, REDIRECT, code_form};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::FakeMcpServer;

/// With what a test adds, on a server that keeps what it was told.
async fn kept(add: impl FnOnce(Builder) -> Builder) -> (Doorman, Server) {
    let server = Server::start(&["appendonly yes", "appendfsync always"]);
    let state = StateSettings::Redis(Box::new(single(&server)));
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).state(state);
    let doorman = add(builder).start().await;
    doorman.until_ready().await;
    (doorman, server)
}

/// RFC 7523 §3, 7: an assertion counts once, and is not spent by a fault of ours. Neither is the code.
#[tokio::test]
async fn a_client_that_signs_is_put_off_and_spends_nothing() {
    let key = ClientKey::p256("k");
    let keys = json!({ "keys": [key.jwk()] });
    let (doorman, mut server) = kept(|builder| builder.declaring(AGENT, &keys)).await;
    let client = Client { id: "agent".to_owned(), redirect_uri: REDIRECT.to_owned() };
    let granted = doorman.authorize(&client).await;
    let assertion = Assertion::of("agent", &key, ORIGIN, doorman.now()).signed_by(&key);
    let mut form = code_form(&client, &granted, doorman.resource()).to_vec();
    form.push(("client_assertion_type", JWT_BEARER));
    form.push(("client_assertion", assertion.as_str()));

    server.kill();
    assert_put_off(&doorman.token(&form).await);
    server.start_again();

    soon_async("tokens", async || {
        let answer = doorman.token(&form).await;
        if answer.status == 503 {
            return None;
        }
        answer.assert_status(200);
        Some(())
    })
    .await;
    // Spent now.
    doorman.token(&form).await.assert_error(401, "invalid_client");
}

/// OpenID Connect Back-Channel Logout §2.8: the provider may send it again.
#[tokio::test]
async fn a_logout_that_could_not_be_done_is_done_when_it_comes_again() {
    let (doorman, mut server) = kept(|builder| builder).await;
    let login = doorman.log_in().await;
    let token = doorman.idp().logout_token(Person::alice().sub).signed();

    server.kill();
    assert_put_off(&doorman.log_out(&token).await);
    server.start_again();

    soon_async("a logout", async || {
        let answer = doorman.log_out(&token).await;
        (answer.status != 503).then(|| answer.assert_status(200).status)
    })
    .await;
    doorman.call(&login.tokens.access).await.assert_status(401);
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_error(400, "invalid_grant");
    // Spent now, and only now.
    doorman.log_out(&token).await.assert_status(400);
}

fn assert_put_off(answer: &Exchange) {
    answer.assert_error(503, "temporarily_unavailable");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer}");
}

const AGENT: &str = r#"
  - id: agent
    name: Agent
    redirect_uris: ["http://127.0.0.1:33418/callback"]
    keys: { file: /jwks.json }
"#;
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
