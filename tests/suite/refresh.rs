//! Refreshing: rotation that survives lost answers and parallel clients, and notices theft.

use std::time::Duration;

use mcp_doorman::store::StateSettings;

use crate::support::doorman::{DAY, Doorman, HOUR, MINUTE, RESOURCE};
use crate::support::fake_mcp_server::FakeMcpServer;

/// OAuth 2.1 §4.3
#[tokio::test]
async fn a_refresh_gives_a_new_pair_that_works() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    doorman.later(2 * HOUR);
    doorman.call(&login.tokens.access).await.assert_status(401);

    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;

    let tokens = answer.tokens();
    assert_ne!(tokens.refresh, login.tokens.refresh);
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 3595);
    assert_eq!(answer.json()["scope"], "tools:read tools:write");
    assert_eq!(answer.header("cache-control"), "no-store");
    doorman.call(&tokens.access).await.assert_status(200);
    let user = doorman.upstream().only_request();
    assert_eq!(user.values("x-forwarded-user"), ["alice-7f3a"]);
}

/// Python's clients refresh only when the time that they were told is over; a 401 before makes them ask for
/// a login.
#[tokio::test]
async fn an_access_token_is_good_for_all_the_time_that_its_client_was_told() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;

    // Told 3595, see `authorization_code`.
    doorman.later(Duration::from_secs(3595));
    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.later(Duration::from_secs(5));

    doorman.call(&login.tokens.access).await.assert_status(401);
}

#[tokio::test]
async fn a_chain_of_refreshes_goes_on() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let mut tokens = login.tokens;

    for _ in 0..10 {
        doorman.later(HOUR + 2 * MINUTE);
        tokens = doorman.refresh(&login.client, &tokens.refresh).await.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
    }
}

/// The client never saw the answer: however late, it may ask again.
#[tokio::test]
async fn a_lost_answer_logs_nobody_out() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_status(200);

    doorman.later(3 * HOUR);
    let again = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();

    doorman.call(&again.access).await.assert_status(200);
    let next = doorman.refresh(&login.client, &again.refresh).await.tokens();
    doorman.call(&next.access).await.assert_status(200);
}

/// Several processes of one client share a login.
#[tokio::test]
async fn parallel_refreshes_log_nobody_out() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let refresh = || doorman.refresh(&login.client, &login.tokens.refresh);

    let (one, two, three) = tokio::join!(refresh(), refresh(), refresh());

    for answer in [one, two, three] {
        let tokens = answer.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        doorman.refresh(&login.client, &tokens.refresh).await.assert_status(200);
    }
}

/// Even after the new pair was seen in use, the previous token is good for a minute.
#[tokio::test]
async fn the_previous_token_works_for_a_minute() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let newest = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&newest.access).await.assert_status(200);

    doorman.later(Duration::from_secs(55));
    let again = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();

    doorman.call(&again.access).await.assert_status(200);
    doorman.refresh(&login.client, &newest.refresh).await.assert_status(200);
}

/// Two quick rotations: whoever holds the token before the previous one is still a slow process.
#[tokio::test]
async fn the_token_before_the_previous_works_for_a_minute() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let second = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.refresh(&login.client, &second.refresh).await.assert_status(200);

    doorman.later(Duration::from_secs(55));
    let again = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();

    doorman.call(&again.access).await.assert_status(200);
}

/// OAuth 2.1 §4.3.1: replay revokes the grant
#[tokio::test]
async fn an_old_token_is_theft_and_ends_the_grant() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let second = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    let newest = doorman.refresh(&login.client, &second.refresh).await.tokens();
    doorman.call(&newest.access).await.assert_status(200);
    doorman.later(Duration::from_secs(65));

    let stolen = doorman.refresh(&login.client, &login.tokens.refresh).await;

    stolen.assert_error(400, "invalid_grant");
    doorman.refresh(&login.client, &newest.refresh).await.assert_error(400, "invalid_grant");
    for token in [&newest.access, &second.access, &login.tokens.access] {
        for _ in 0..2 {
            doorman.call(token).await.assert_status(401);
        }
    }
}

/// Three generations back is nobody's slow process, however quick the rotations were.
#[tokio::test]
async fn a_token_three_generations_old_is_theft_at_once() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let mut newest = login.tokens.clone();
    for _ in 0..3 {
        newest = doorman.refresh(&login.client, &newest.refresh).await.tokens();
    }

    let stolen = doorman.refresh(&login.client, &login.tokens.refresh).await;

    stolen.assert_error(400, "invalid_grant");
    doorman.call(&newest.access).await.assert_status(401);
}

/// The new pair was seen in use and the minute is over: the previous token is in another's hand.
#[tokio::test]
async fn the_previous_token_is_theft_once_the_new_pair_is_in_use() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access_lifetime(DAY).start().await;
    let login = doorman.log_in().await;
    let newest = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&newest.access).await.assert_status(200);

    // The use is noted off the request path; until then the answer counts as lost.
    let mut answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
    let mut attempts = 0;
    while answer.status.is_success() && attempts < 100 {
        doorman.later(Duration::from_secs(65));
        doorman.call(&newest.access).await.assert_status(200);
        answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
        attempts += 1;
    }

    answer.assert_error(400, "invalid_grant");
    doorman.call(&newest.access).await.assert_status(401);
    doorman.refresh(&login.client, &newest.refresh).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_refresh_token_ends_when_it_is_not_used() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;

    doorman.later(13 * DAY);
    let tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.later(13 * DAY);
    let tokens = doorman.refresh(&login.client, &tokens.refresh).await.tokens();
    doorman.later(15 * DAY);

    doorman.refresh(&login.client, &tokens.refresh).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_grant_ends_however_often_it_is_refreshed() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).grant_lifetime(20 * DAY).start().await;
    let login = doorman.log_in().await;
    doorman.later(10 * DAY);
    let tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();

    doorman.later(11 * DAY);

    doorman.refresh(&login.client, &tokens.refresh).await.assert_error(400, "invalid_grant");
}

/// RFC 6749 §10.4: bound to the client; a refused request spends nothing
#[tokio::test]
async fn another_client_cannot_refresh() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let stranger = doorman.register().await;

    for _ in 0..3 {
        let stolen = doorman.refresh(&stranger, &login.tokens.refresh).await;
        stolen.assert_error(400, "invalid_grant");
    }

    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_status(200);
}

/// RFC 6749 §6; RFC 8707 §2.2
#[tokio::test]
async fn a_refresh_cannot_widen_the_grant() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other", &other)
        .start()
        .await;
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client).with("scope", "tools:read");
    let granted = doorman.complete(&doorman.browser(), &authorization).await;
    let tokens = doorman.exchange(&client, &granted).await.tokens();
    let usual = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
        ("client_id", client.id.as_str()),
    ];
    let with = |name, value| [usual[0], usual[1], usual[2], (name, value)];

    for (form, error) in [
        (with("scope", "tools:read tools:write"), "invalid_scope"),
        (with("resource", "https://tools.example.com/other"), "invalid_target"),
        (with("resource", "https://evil.example/mcp"), "invalid_target"),
    ] {
        doorman.token(&form).await.assert_error(400, error);
    }

    // rmcp adds `offline_access` whether or not it was ever granted.
    let scope = doorman.token(&with("scope", "tools:read offline_access")).await;
    assert_eq!(scope.assert_status(200).json()["scope"], "tools:read");
    let newest = scope.tokens().refresh;
    let form = [usual[0], ("refresh_token", newest.as_str()), usual[2], ("resource", RESOURCE)];
    doorman.token(&form).await.assert_status(200);
}

/// mcp-remote asks for `openid email profile` where no scope is named anywhere, and asks for the same again
/// at each refresh. What a resource does not offer is not granted, at the login or later; asking is no
/// fault.
#[tokio::test]
async fn a_client_may_ask_again_for_what_nobody_offers() {
    for (offered, granted) in [("", None), ("tools:read", Some("tools:read"))] {
        let server = FakeMcpServer::start().await;
        let doorman = Doorman::in_front_of(server).scopes(offered).start().await;
        let client = doorman.register().await;
        let asked = "openid email profile";
        let authorization = doorman.authorization(&client).with("scope", asked);
        let granted_code = doorman.complete(&doorman.browser(), &authorization).await;
        let tokens = doorman.exchange(&client, &granted_code).await.tokens();

        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("client_id", client.id.as_str()),
            ("scope", asked),
        ];
        let answer = doorman.token(&form).await;

        answer.assert_status(200);
        assert_eq!(answer.json()["scope"].as_str(), granted, "{offered:?}");
    }
}

/// The row of a grant in memory goes with the process: a lost row is no permission.
#[tokio::test]
async fn a_refresh_token_whose_grant_is_lost_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    doorman.later(Duration::from_secs(1));

    let doorman = doorman.restarted().await;
    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;

    answer.assert_error(400, "invalid_grant");
}

/// State in a directory survives a restart: logins, and which of them were ended.
#[tokio::test]
async fn a_login_whose_state_is_in_a_file_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateSettings::Dir(dir.path().to_owned());
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).state(state).start().await;
    let login = doorman.log_in().await;
    let ended = doorman.log_in().await;
    doorman.revoke(&ended.client, &ended.tokens.refresh).await.assert_status(200);

    let doorman = doorman.restarted().await;

    doorman.call(&login.tokens.access).await.assert_status(200);
    let tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);
    let refused = doorman.refresh(&ended.client, &ended.tokens.refresh).await;
    refused.assert_error(400, "invalid_grant");
    doorman.until_ready().await;
    doorman.call(&ended.tokens.access).await.assert_status(401);
}

#[tokio::test]
async fn what_is_not_a_refresh_token_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;

    for text in ["x", "doorman_rt_", "doorman_rt_AAAA", "doorman_rt_\u{e9}"] {
        doorman.refresh(&client, text).await.assert_error(400, "invalid_grant");
    }
}
