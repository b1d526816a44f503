//! What strangers may do how often. Who does nothing wrong never meets a budget.

use std::time::Duration;

use serde_json::json;

use crate::support::client::metadata;
use crate::support::doorman::{Doorman, MINUTE, REDIRECT, RESOURCE, mcp_request};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

async fn start() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).behind_a_proxy().start().await
}

async fn from(doorman: &Doorman, address: &str, request: Request) -> Exchange {
    doorman.send(request.header("x-forwarded-for", address)).await
}

#[track_caller]
fn assert_too_many(answer: &Exchange) {
    answer.assert_status(429);
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn registration(doorman: &Doorman) -> Request {
    Request::post(&doorman.endpoint("/register")).json(&metadata(REDIRECT))
}

#[tokio::test]
async fn a_flood_of_registrations_from_one_address_stops_there() {
    let doorman = start().await;
    let mut last = from(&doorman, "198.51.100.1", registration(&doorman)).await;

    for _ in 0..120 {
        last = from(&doorman, "198.51.100.1", registration(&doorman)).await;
    }

    assert_too_many(&last);
    assert_eq!(last.json()["error"], "temporarily_unavailable");
    from(&doorman, "198.51.100.2", registration(&doorman)).await.assert_status(201);
    doorman.later(Duration::from_secs(2));
    from(&doorman, "198.51.100.1", registration(&doorman)).await.assert_status(201);
}

/// What stands before the ingress' own entry was written by the caller.
#[tokio::test]
async fn nobody_gets_a_new_budget_by_making_up_addresses() {
    let doorman = start().await;

    for n in 0..120 {
        let forwarded = format!("192.0.2.{n}, 198.51.100.1");
        from(&doorman, &forwarded, registration(&doorman)).await.assert_status(201);
    }

    let answer = from(&doorman, "203.0.113.1, 198.51.100.1", registration(&doorman)).await;
    assert_too_many(&answer);
}

#[tokio::test]
async fn a_flood_of_sign_ins_from_one_address_gets_a_page() {
    let doorman = start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).url();
    let mut last = from(&doorman, "198.51.100.1", Request::get(&url)).await;

    for _ in 0..240 {
        last = from(&doorman, "198.51.100.1", Request::get(&url)).await;
    }

    last.assert_page(429);
    assert!(!last.header("retry-after").is_empty());
    from(&doorman, "198.51.100.2", Request::get(&url)).await.assert_status(200);
}

/// A hosted client's whole user base comes from few addresses.
#[tokio::test]
async fn a_good_token_is_never_refused_for_the_bad_ones_of_others() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let bad = || mcp_request(RESOURCE).bearer("doorman_at_made-up");
    let mut last = from(&doorman, "198.51.100.1", bad()).await;
    last.assert_status(401);

    for _ in 0..300 {
        last = from(&doorman, "198.51.100.1", bad()).await;
    }

    assert_too_many(&last);
    last.assert_json_rpc_error(429);
    let good = || doorman.request(&login.tokens.access);
    from(&doorman, "198.51.100.1", good()).await.assert_status(200);
    // Who comes without a token has done nothing wrong, and must find out where to log in.
    from(&doorman, "198.51.100.1", mcp_request(RESOURCE)).await.assert_status(401);
    from(&doorman, "198.51.100.2", bad()).await.assert_status(401);
}

#[tokio::test]
async fn a_good_refresh_is_never_refused_for_the_bad_ones_of_others() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let token = doorman.endpoint("/token");
    let refresh = |token_: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token_),
            ("client_id", login.client.id.as_str()),
        ];
        Request::post(&token).form(&form)
    };
    let mut last = from(&doorman, "198.51.100.1", refresh("guess")).await;
    last.assert_error(400, "invalid_grant");

    for _ in 0..300 {
        last = from(&doorman, "198.51.100.1", refresh("guess")).await;
    }

    assert_too_many(&last);
    let good = refresh(&login.tokens.refresh);
    from(&doorman, "198.51.100.1", good).await.assert_status(200);
}

/// Without `trusted_proxies` everybody behind the ingress looks alike: nobody is held to what one address may.
#[tokio::test]
async fn behind_an_unknown_ingress_only_the_whole_counts() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for _ in 0..130 {
        doorman.send(registration(&doorman)).await.assert_status(201);
    }

    let told = doorman.log().text().matches("set trusted_proxies").count();
    assert_eq!(told, 1, "said once");
    let mut last = 201;
    for _ in 0..1100 {
        last = doorman.send(registration(&doorman)).await.status.as_u16();
    }
    assert_eq!(last, 429);
    doorman.later(MINUTE);
    doorman.register_with(&json!({ "redirect_uris": [REDIRECT] })).await.assert_status(201);
}
