//! `POST /revoke`: a client gives back what it has (RFC 7009).

use crate::support::client::Client;
use crate::support::doorman::Doorman;
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;

/// RFC 7009 §2.1: the access tokens of the grant too
#[tokio::test]
async fn revoking_the_refresh_token_ends_the_grant() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let newest = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&newest.access).await.assert_status(200);

    doorman.revoke(&login.client, &newest.refresh).await.assert_status(200);

    doorman.refresh(&login.client, &newest.refresh).await.assert_error(400, "invalid_grant");
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_error(400, "invalid_grant");
    // Every worker has to know.
    for token in [&newest.access, &newest.access, &login.tokens.access, &login.tokens.access] {
        let answer = doorman.call(token).await;
        answer.assert_json_rpc_error(401);
        assert_eq!(answer.challenge().parameter("error"), Some("invalid_token"));
    }
}

/// RFC 7009 §2
#[tokio::test]
async fn a_revoked_access_token_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    doorman.call(&login.tokens.access).await.assert_status(200);

    doorman.revoke(&login.client, &login.tokens.access).await.assert_status(200);

    for _ in 0..3 {
        doorman.call(&login.tokens.access).await.assert_status(401);
    }
}

/// One login's end is not another's.
#[tokio::test]
async fn other_grants_of_the_same_person_and_client_go_on() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let first = doorman.log_in().await;
    let second = doorman.log_in_with(first.client.clone()).await;

    doorman.revoke(&first.client, &first.tokens.refresh).await.assert_status(200);

    doorman.call(&first.tokens.access).await.assert_status(401);
    doorman.call(&second.tokens.access).await.assert_status(200);
    doorman.refresh(&second.client, &second.tokens.refresh).await.assert_status(200);
}

/// RFC 7009 §2.2: an unknown token is as good as revoked
#[tokio::test]
async fn an_unknown_token_is_answered_like_a_known_one() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let mut seen = 0;

    for token in ["x", "doorman_rt_AAAA", "doorman_at_AAAA", "doorman_xx_AAAA"] {
        doorman.revoke(&login.client, token).await.assert_status(200);
        seen += 1;
    }
    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);
    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    assert_eq!(seen, 4);
}

/// RFC 7009 §2.1: the hint is only a hint
#[tokio::test]
async fn a_wrong_hint_does_not_protect_a_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for hint in ["access_token", "refresh_token", "something_else"] {
        let login = doorman.log_in().await;
        let form = [
            ("token", login.tokens.refresh.as_str()),
            ("token_type_hint", hint),
            ("client_id", login.client.id.as_str()),
        ];
        doorman.send(Request::post("/revoke").form(&form)).await.assert_status(200);
        doorman.call(&login.tokens.access).await.assert_status(401);
    }
}

/// RFC 7009 §2.1: only the client that the token was issued to
#[tokio::test]
async fn another_client_cannot_revoke() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let stranger = doorman.register().await;

    for token in [&login.tokens.refresh, &login.tokens.access] {
        let answer = doorman.revoke(&stranger, token).await;
        assert!([200, 400, 401].contains(&answer.status.as_u16()), "\n{answer}");
    }

    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_status(200);
}

/// RFC 7009 §2.2.1
#[tokio::test]
async fn a_malformed_revocation_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let unknown = Client { id: "doorman_ci_AAAA".to_owned(), ..login.client.clone() };

    let without_token = [("client_id", login.client.id.as_str())];
    let without_token = doorman.send(Request::post("/revoke").form(&without_token)).await;
    let unknown_client = doorman.revoke(&unknown, &login.tokens.refresh).await;
    let get = doorman.get("/revoke").await;

    without_token.assert_error(400, "invalid_request");
    unknown_client.assert_error(401, "invalid_client");
    get.assert_status(405);
    doorman.call(&login.tokens.access).await.assert_status(200);
}
