//! What is down stays somebody else's trouble: no login is lost, no 401 is sent for what we can't judge.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::doorman::{Doorman, MINUTE};
use crate::support::exchange::Exchange;
use crate::support::exchange::Request;
use crate::support::fake_idp::DISCOVERY;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

#[tokio::test]
async fn without_the_idp_we_start_and_say_so() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).idp_down().start().await;

    doorman.log().line_with(doorman.idp().issuer()).await;
    doorman.health().send(Request::get("/livez")).await.assert_status(200);
    doorman.get("/.well-known/oauth-protected-resource/mcp").await.assert_status(200);
    doorman.get("/.well-known/oauth-authorization-server").await.assert_status(200);
    doorman.register().await;
    assert_eq!(
        doorman.call("x").await.assert_status(401).challenge().parameter("error"),
        Some("invalid_token")
    );
}

#[tokio::test]
async fn without_the_idp_a_login_ends_on_a_page_that_says_try_again() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).idp_down().start().await;

    let end = try_to_log_in(&doorman).await;

    end.assert_page(503);
    end.header("retry-after");
}

/// An IdP that is slow to fail is not asked once per person who waits for it.
#[tokio::test]
async fn who_waits_for_the_idp_waits_together() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).discovery_held().start().await;
    let client = doorman.register().await;
    let mut asking = JoinSet::new();
    for _ in 0..5 {
        let browser = doorman.browser();
        let page = browser.open(&doorman.authorization(&client).url()).await;
        asking.spawn(async move { browser.approve(&page).await });
    }
    // All of them are in once others, who came later, have been served.
    for _ in 0..50 {
        doorman.register().await;
    }

    doorman.idp().fail_discovery();
    let answers = soon("an answer for everyone", asking.join_all()).await;

    assert_eq!(answers.len(), 5);
    for answer in answers {
        answer.assert_page(503);
    }
    let asked = doorman.idp().asked(DISCOVERY).len();
    assert!((1..=2).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn without_the_idp_those_who_are_in_stay_in() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;

    doorman.idp().go_down();
    doorman.call(&login.tokens.access).await.assert_status(200);
    let tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);
}

/// A pod that is rolled while the IdP is down.
#[tokio::test]
async fn without_the_idp_a_restart_keeps_access_tokens_good() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    doorman.idp().go_down();

    let doorman = doorman.restarted().await;

    doorman.call(&login.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn when_the_idp_is_back_logins_work_without_a_restart() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).idp_down().start().await;
    try_to_log_in(&doorman).await.assert_page(503);

    doorman.idp().come_up();
    doorman.later(MINUTE);

    let mut attempts = 0;
    loop {
        let end = try_to_log_in(&doorman).await;
        if end.status.is_redirection() {
            end.landing().code();
            break;
        }
        attempts += 1;
        assert!(attempts < 100, "not recovered\n{end}");
        // Until somebody asks the IdP again, nothing will have changed.
        let contact = doorman.idp().next_contact();
        let _ = tokio::time::timeout(Duration::from_millis(200), contact).await;
        doorman.later(MINUTE);
    }
}

/// The IdP goes away between its login form and our question who it was.
#[tokio::test]
async fn an_idp_that_goes_away_during_a_login_costs_only_that_login() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let browser = doorman.browser();
    let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
    doorman.idp().go_down();

    let end = browser.get(&callback).await;

    if end.status.is_redirection() {
        end.landing().assert_error(&["temporarily_unavailable", "server_error"]);
    } else {
        end.assert_page(503);
    }
    doorman.idp().come_up();
    doorman.log_in_with(client).await;
}

/// Design R7
#[tokio::test]
async fn a_server_that_is_down_is_a_bad_gateway() {
    let doorman = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.call(&token).await.assert_json_rpc_error(502);
    doorman.health().send(Request::get("/livez")).await.assert_status(200);
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_is_a_bad_gateway() {
    let doorman = Doorman::in_front_of(FakeMcpServer::garbled().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.call(&token).await.assert_json_rpc_error(502);
}

/// The body names no address: the inside is nobody's business.
#[tokio::test]
async fn a_bad_gateway_does_not_tell_where_the_server_is() {
    let doorman = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;
    let token = doorman.log_in().await.tokens.access;

    let answer = doorman.call(&token).await;

    let text = format!("{:?}{}", answer.headers, answer.text());
    assert!(!text.contains(&doorman.upstream().authority()), "\n{answer}");
    doorman.log().line_with(&doorman.upstream().authority()).await;
}

#[tokio::test]
async fn a_server_that_is_down_does_not_change_what_the_rest_says() {
    let doorman = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;

    assert_eq!(
        doorman.call("x").await.assert_status(401).challenge().parameter("error"),
        Some("invalid_token")
    );
    doorman.get("/.well-known/oauth-protected-resource/mcp").await.assert_status(200);
}

/// Ready means that the server accepts connections; the IdP has no part in it.
#[tokio::test]
async fn readiness_depends_on_the_server_and_never_on_the_idp() {
    let server = FakeMcpServer::start().await;
    let with_server = Doorman::in_front_of(server).idp_down().start().await;
    let without = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;

    let mut ready = with_server.health().send(Request::get("/readyz")).await;
    let mut attempts = 0;
    while !ready.status.is_success() && attempts < 100 {
        // Nothing changes before somebody has tried the server.
        let contact = with_server.upstream().connection();
        let _ = tokio::time::timeout(Duration::from_millis(200), contact).await;
        ready = with_server.health().send(Request::get("/readyz")).await;
        attempts += 1;
    }

    ready.assert_status(200);
    without.health().send(Request::get("/readyz")).await.assert_status(503);
}

#[tokio::test]
async fn a_stopped_doorman_answers_nobody() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let address = doorman.door().address;

    doorman.stop().await;

    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

async fn try_to_log_in(doorman: &Doorman) -> Exchange {
    let client = doorman.register().await;
    doorman.browser().arrive(&doorman.authorization(&client).url()).await
}
