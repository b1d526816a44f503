//! From the authorization request to tokens (OAuth 2.1 §4.1, RFC 7636, RFC 8707, RFC 9207).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::client::{Client, metadata};
use crate::support::doorman::{
    Doorman, HOUR, MINUTE, ORIGIN, REDIRECT, RESOURCE, WEB_REDIRECT, code_form,
};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::random_text;

/// OAuth 2.1 §4.1
#[tokio::test]
async fn a_login_ends_with_a_call_that_reaches_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let login = doorman.log_in().await;
    let answer = doorman.call(&login.tokens.access).await;

    answer.assert_status(200);
    assert_eq!(answer.json()["result"]["tools"], json!([]));
    assert_eq!(doorman.upstream().only_request().values("x-forwarded-user"), ["alice-7f3a"]);
}

/// RFC 9207 §2; RFC 6749 §4.1.2
#[tokio::test]
async fn the_code_comes_with_the_clients_state_and_our_name() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register_at("https://client.example.com/callback?tenant=1").await;
    let state = "any thing/+&=?#\u{e9}";
    let url = doorman.authorization(&client).with("state", state).url();

    let landing = doorman.browser().log_in(&url).await;

    assert!(landing.code().starts_with("doorman_ac_"));
    assert_eq!(landing.parameter("state").as_deref(), Some(state));
    assert_eq!(landing.parameter("iss").as_deref(), Some(ORIGIN));
    assert_eq!(landing.parameter("tenant").as_deref(), Some("1"));
    assert!(landing.url.as_str().starts_with("https://client.example.com/callback?tenant=1&"));
}

/// RFC 6749 §4.1.2: `state` comes back if it was sent
#[tokio::test]
async fn a_client_without_state_gets_none() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let url = doorman.authorization(&client).without("state").url();

    let landing = doorman.browser().log_in(&url).await;

    landing.code();
    assert_eq!(landing.parameter("state"), None);
}

/// Our own `state` must fit where IdPs and browsers put it, whatever the client's is.
#[tokio::test]
async fn a_long_state_comes_back_and_a_longer_one_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let long: String = (0..48).map(|_| random_text()).collect::<String>()[..2048].to_owned();
    let longer = format!("{long}x");

    let landing =
        doorman.browser().log_in(&doorman.authorization(&client).with("state", &long).url()).await;
    let refused = doorman.get(&doorman.authorization(&client).with("state", &longer).url()).await;

    assert_eq!(landing.parameter("state"), Some(long));
    let sent = &doorman.idp().asked("/authorize")[0].parameters["state"];
    assert!(sent.starts_with("doorman_st_") && sent.len() < 1000, "{} characters", sent.len());
    refused.assert_page(400);
}

/// RFC 6749 §5.1
#[tokio::test]
async fn the_token_response_is_complete_and_small() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    let tokens = answer.tokens();
    assert!(tokens.access.starts_with("doorman_at_"));
    assert!(tokens.refresh.starts_with("doorman_rt_"));
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3595);
    assert_eq!(body["scope"], "tools:read tools:write");
    assert!(body.as_object().unwrap().values().all(|value| !value.is_null()));
    assert!(body.get("id_token").is_none());
    assert_eq!(answer.header("cache-control"), "no-store");
    // Windows' credential store holds 1,280 characters per record, client id included.
    let size = answer.body.len() + client.id.len();
    assert!(size < 1200, "{size} characters");
}

/// RFC 6749 §10.5
#[tokio::test]
async fn a_code_used_twice_ends_the_grant_it_bought() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let tokens = doorman.exchange(&client, &granted).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);

    let second = doorman.exchange(&client, &granted).await;

    second.assert_error(400, "invalid_grant");
    doorman.call(&tokens.access).await.assert_status(401);
    doorman.refresh(&client, &tokens.refresh).await.assert_error(400, "invalid_grant");
}

/// RFC 6749 §10.5, for two at once
#[tokio::test]
async fn of_parallel_redemptions_at_most_one_succeeds() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let redeem = || doorman.exchange(&client, &granted);

    let answers = tokio::join!(redeem(), redeem(), redeem(), redeem());

    let answers = [answers.0, answers.1, answers.2, answers.3];
    let won = answers.iter().filter(|answer| answer.status.is_success()).count();
    assert_eq!(won, 1);
    for lost in answers.iter().filter(|answer| !answer.status.is_success()) {
        lost.assert_error(400, "invalid_grant");
    }
}

/// RFC 6749 §4.1.2: short-lived
#[tokio::test]
async fn a_code_lives_sixty_seconds() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let in_time = doorman.authorize(&client).await;
    doorman.later(Duration::from_secs(58));
    doorman.exchange(&client, &in_time).await.assert_status(200);
    let late = doorman.authorize(&client).await;

    doorman.later(Duration::from_secs(62));

    doorman.exchange(&client, &late).await.assert_error(400, "invalid_grant");
}

/// RFC 7636 §4.6; and a wrong request must not burn the code of the right one
#[tokio::test]
async fn wrong_requests_are_refused_and_burn_nothing() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other", &other)
        .start()
        .await;
    let client = doorman.register().await;
    let stranger = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let right = code_form(&client, &granted, RESOURCE);
    let with = |name: &str, value: &'static str| {
        right.map(|(own, text)| if own == name { (own, value) } else { (own, text) })
    };
    let another_verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    for (form, code) in [
        (with("code_verifier", another_verifier), "invalid_grant"),
        (with("code_verifier", "short"), "invalid_grant"),
        (with("redirect_uri", "http://127.0.0.1:1/callback"), "invalid_grant"),
        (with("redirect_uri", "https://evil.example/"), "invalid_grant"),
        (with("resource", "https://tools.example.com/other"), "invalid_target"),
        (with("resource", "https://evil.example/mcp"), "invalid_target"),
        (with("resource", "not a URL"), "invalid_target"),
    ] {
        doorman.token(&form).await.assert_error(400, code);
    }
    let mut stolen = right;
    stolen[3].1 = &stranger.id;
    doorman.token(&stolen).await.assert_error(400, "invalid_grant");
    let without: Vec<_> =
        right.iter().copied().filter(|(name, _)| *name != "code_verifier").collect();
    let answer = doorman.token(&without).await;
    answer.assert_status(400);
    let error = answer.json()["error"].clone();
    assert!(error == "invalid_grant" || error == "invalid_request", "\n{answer}");

    doorman.token(&right).await.assert_status(200);
}

/// OAuth 2.1 §4.1.3 has no `redirect_uri`; OAuth 2.0 clients send it
#[tokio::test]
async fn the_token_request_may_leave_out_redirect_uri_and_resource() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let short: Vec<_> = form
        .iter()
        .copied()
        .filter(|(name, _)| !["redirect_uri", "resource"].contains(name))
        .collect();

    let tokens = doorman.token(&short).await.tokens();

    doorman.call(&tokens.access).await.assert_status(200);
}

/// RFC 6749 §4.1.2.1: a client or redirect URI that is not good must not be redirected to
#[tokio::test]
async fn errors_before_consent_are_pages() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let usual = || doorman.authorization(&client);
    let mut seen = 0;

    for authorization in [
        usual().without("client_id"),
        usual().with("client_id", "unknown"),
        usual().with("client_id", "doorman_ci_AAAA"),
        usual().with("client_id", "https://evil.example/client.json"),
        usual().and("client_id", &client.id),
        usual().without("redirect_uri"),
        usual().with("redirect_uri", ""),
        usual().with("redirect_uri", "https://evil.example/"),
        usual().and("redirect_uri", "https://evil.example/"),
        usual().without("response_type"),
        usual().with("response_type", "token"),
        usual().with("response_type", "code token"),
        usual().and("response_type", "code"),
        usual().with("resource", "https://evil.example/mcp"),
        usual().with("resource", "not a URL"),
        usual().with("resource", "https://tools.example.com/mcp#fragment"),
        usual().and("state", "twice"),
        usual().and("scope", "tools:read").and("scope", "tools:write"),
    ] {
        doorman.browser().get(&authorization.url()).await.assert_page(400);
        seen += 1;
    }

    assert_eq!(seen, 18);
    assert!(doorman.idp().asked("/authorize").is_empty());
}

/// OAuth 2.1 §3.1: unknown parameters MUST be ignored, empty ones are as good as absent
#[tokio::test]
async fn what_we_do_not_know_does_not_disturb() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let authorization = doorman
        .authorization(&client)
        .and("nonce", "x")
        .and("access_type", "offline")
        .and("prompt", "consent")
        .and("scope", "");

    doorman.complete(&doorman.browser(), &authorization).await;
}

/// RFC 7636 §4.4.1; OAuth 2.1 §4.1.1: S256 for everyone
#[tokio::test]
async fn without_a_good_challenge_there_is_no_login() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let usual = || doorman.authorization(&client);
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let mut seen = 0;

    for authorization in [
        usual().without("code_challenge"),
        usual().without("code_challenge").without("code_challenge_method"),
        usual().without("code_challenge_method"),
        usual().with("code_challenge_method", "plain"),
        usual().with("code_challenge_method", "s256"),
        usual().with("code_challenge_method", "S512"),
        usual().with("code_challenge", ""),
        usual().with("code_challenge", &challenge[1..]),
        usual().with("code_challenge", &format!("{challenge}A")),
        usual().with("code_challenge", &format!("{challenge}=")),
        usual().with("code_challenge", &format!("{}!", &challenge[1..])),
        usual().and("code_challenge", challenge),
    ] {
        doorman.browser().get(&authorization.url()).await.assert_page(400);
        seen += 1;
    }

    assert_eq!(seen, 12);
}

/// OAuth 2.1 §2.3.1; RFC 8252 §7.3
#[tokio::test]
async fn a_loopback_redirect_may_use_any_port() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for (registered, used) in [
        ("http://127.0.0.1/callback", "http://127.0.0.1:50123/callback"),
        ("http://127.0.0.1:1/callback", "http://127.0.0.1:2/callback"),
        ("http://[::1]:1/callback", "http://[::1]:2/callback"),
        ("http://localhost:3334/oauth/callback", "http://localhost:3335/oauth/callback"),
    ] {
        let mut client = doorman.register_at(registered).await;
        used.clone_into(&mut client.redirect_uri);
        let authorization = doorman.authorization(&client);
        let landing = doorman.browser().log_in(&authorization.url()).await;
        assert!(landing.url.as_str().starts_with(&format!("{used}?")), "{}", landing.url);
        seen += 1;
    }

    assert_eq!(seen, 4);
}

/// RFC 8707 §2; what clients make of the resource they were given
#[tokio::test]
async fn the_resource_may_be_written_as_clients_write_it() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let usual = || doorman.authorization(&client);
    let mut seen = 0;

    for authorization in [
        usual().without("resource"),
        usual().with("resource", "https://tools.example.com/mcp/"),
        usual().with("resource", "HTTPS://TOOLS.EXAMPLE.COM/mcp"),
        usual().with("resource", "https://tools.example.com:443/mcp"),
        usual().with("resource", "https://tools.example.com/"),
        usual().with("resource", "https://tools.example.com"),
        usual().and("resource", RESOURCE),
    ] {
        let granted = doorman.complete(&doorman.browser(), &authorization).await;
        let tokens = doorman.exchange(&client, &granted).await.tokens();
        doorman.call(&tokens.access).await.assert_status(200);
        seen += 1;
    }

    assert_eq!(seen, 7);
}

/// RFC 8707 §2.2: the name of what stands above is another resource's own
#[tokio::test]
async fn a_resource_above_does_not_stand_for_the_one_below() {
    let above = FakeMcpServer::start().await;
    let below = "https://tools.example.com/a/b";
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .at("https://tools.example.com/a/b")
        .and_at("https://tools.example.com/a", &above)
        .start()
        .await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let with = |resource| code_form(&client, &granted, resource);

    let wrong = doorman.token(&with("https://tools.example.com/a")).await;
    wrong.assert_error(400, "invalid_target");
    let tokens = doorman.token(&with(below)).await.tokens();
    let refresh = |resource| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("client_id", client.id.as_str()),
            ("resource", resource),
        ]
    };
    let wrong = doorman.token(&refresh("https://tools.example.com/a")).await;
    wrong.assert_error(400, "invalid_target");
    let tokens = doorman.token(&refresh(below)).await.tokens();

    doorman.call(&tokens.access).await.assert_status(200);
    above.assert_untouched();
}

/// RFC 8707 §2: with several resources the client has to say which
#[tokio::test]
async fn among_several_resources_the_client_must_choose_one() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other", &other)
        .start()
        .await;
    let client = doorman.register().await;
    let usual = || doorman.authorization(&client);

    for authorization in [
        usual().without("resource"),
        usual().with("resource", "https://tools.example.com/"),
        usual().and("resource", "https://tools.example.com/other"),
    ] {
        doorman.get(&authorization.url()).await.assert_page(400);
    }
}

/// OAuth 2.1 §3.2.3: narrowed to what exists, and the answer says so
#[tokio::test]
async fn scopes_are_narrowed_to_what_the_resource_offers() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let mut seen = 0;

    for (asked, granted) in [
        ("tools:read", "tools:read"),
        ("tools:read openid email offline_access", "tools:read"),
        ("tools:write tools:read", "tools:read tools:write"),
    ] {
        let authorization = doorman.authorization(&client).with("scope", asked);
        let code = doorman.complete(&doorman.browser(), &authorization).await;
        let answer = doorman.exchange(&client, &code).await;
        let scope = answer.json()["scope"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = scope.split(' ').collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), granted, "asked for {asked}");
        seen += 1;
    }

    assert_eq!(seen, 3);
}

/// RFC 6749 §5.2
#[tokio::test]
async fn the_token_endpoint_names_what_is_wrong() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let id = client.id.as_str();
    let code = ("grant_type", "authorization_code");
    let mut seen = 0;

    for (form, status, error) in [
        (vec![], 400, "invalid_request"),
        (vec![("client_id", id)], 400, "invalid_request"),
        (vec![("client_id", id), ("grant_type", "password")], 400, "unsupported_grant_type"),
        (vec![("client_id", id), ("grant_type", "implicit")], 400, "unsupported_grant_type"),
        (vec![("client_id", id), code], 400, "invalid_request"),
        (vec![("client_id", id), code, code, ("code", "x")], 400, "invalid_request"),
        (vec![("client_id", id), ("grant_type", "refresh_token")], 400, "invalid_request"),
        (vec![("client_id", "unknown"), code, ("code", "x")], 401, "invalid_client"),
        (vec![("client_id", "doorman_ci_AAAA"), code, ("code", "x")], 401, "invalid_client"),
        (
            vec![("client_id", id), code, ("code", "x"), ("code_verifier", VERIFIER)],
            400,
            "invalid_grant",
        ),
        (
            vec![("client_id", id), code, ("code", "doorman_ac_AAAA"), ("code_verifier", VERIFIER)],
            400,
            "invalid_grant",
        ),
    ] {
        doorman.token(&form).await.assert_error(status, error);
        seen += 1;
    }

    assert_eq!(seen, 11);
}

/// RFC 6749 §3.2: POST, form-encoded
#[tokio::test]
async fn the_token_endpoint_takes_forms_only() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let fields = code_form(&client, &granted, RESOURCE);
    let json = json!(fields.iter().copied().collect::<std::collections::BTreeMap<_, _>>());

    let as_json = doorman.send(Request::post("/token").json(&json)).await;
    let as_get = doorman.get("/token?grant_type=authorization_code").await;
    let as_form = doorman.token(&fields).await;

    as_json.assert_error(400, "invalid_request");
    as_get.assert_status(405);
    as_form.assert_status(200);
}

/// RFC 6749 §2.3.1: a client that has a secret must show it
#[tokio::test]
async fn a_client_with_a_secret_cannot_come_without_it() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut wanted = metadata(WEB_REDIRECT);
    wanted["token_endpoint_auth_method"] = json!("client_secret_post");
    let registered = doorman.register_with(&wanted).await.json();
    let client = crate::support::client::Client {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        redirect_uri: WEB_REDIRECT.to_owned(),
    };
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let with_secret = |secret| {
        let mut form = form.to_vec();
        form.push(("client_secret", secret));
        form
    };

    let Some(secret) = registered["client_secret"].as_str() else {
        // Registered as a public client instead, as RFC 7591 §3.2.1 allows: nothing to show.
        assert_eq!(registered["token_endpoint_auth_method"], "none");
        doorman.token(&form).await.assert_status(200);
        return;
    };
    doorman.token(&form).await.assert_error(401, "invalid_client");
    doorman.token(&with_secret("wrong")).await.assert_error(401, "invalid_client");
    doorman.token(&with_secret(secret)).await.assert_status(200);
}

/// RFC 6749 §2.3.1: form-encoded inside, which many clients leave out
#[tokio::test]
async fn a_client_may_show_its_secret_by_basic() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let (client, secret) = confidential_client(&doorman).await;
    let escape = |text: &str| text.bytes().fold(String::new(), |all, b| format!("{all}%{b:02X}"));
    let mut seen = 0;

    for credentials in
        [format!("{}:{secret}", client.id), format!("{}:{}", escape(&client.id), escape(&secret))]
    {
        let granted = doorman.authorize(&client).await;
        let [grant_type, code, redirect_uri, _, verifier, _] =
            code_form(&client, &granted, RESOURCE);
        let form = [grant_type, code, redirect_uri, verifier];
        let answer = doorman.send(basic(&credentials).form(&form)).await;
        doorman.call(&answer.tokens().access).await.assert_status(200);
        seen += 1;
    }

    assert_eq!(seen, 2);
}

/// RFC 6749 §2.3, §5.2; and a wrong request burns nothing
#[tokio::test]
async fn basic_must_be_right_and_the_only_way_in_use() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let (client, secret) = confidential_client(&doorman).await;
    let stranger = doorman.register().await;
    let granted = doorman.authorize(&client).await;
    let form = code_form(&client, &granted, RESOURCE);
    let right = format!("{}:{secret}", client.id);
    let mut seen = 0;

    for credentials in [
        format!("{}:wrong", client.id),
        format!("{}:", client.id),
        format!("{}:{secret}x", client.id),
        client.id.clone(),
        format!("unknown:{secret}"),
    ] {
        let sent = &form[..3];
        let answer = doorman.send(basic(&credentials).form(sent)).await;
        answer.assert_error(401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic "), "\n{answer}");
        seen += 1;
    }
    let twice = [&form[..], &[("client_secret", &secret)]].concat();
    let two_ways = doorman.send(basic(&right).form(&twice)).await;
    two_ways.assert_error(400, "invalid_request");
    let mut of_two = form;
    of_two[3].1 = &stranger.id;
    let two_clients = doorman.send(basic(&right).form(&of_two)).await;
    two_clients.assert_error(400, "invalid_request");

    assert_eq!(seen, 5);
    doorman.send(basic(&right).form(&form)).await.assert_status(200);
}

/// A grant type that the client did not list is not for it (RFC 7591 §2).
#[tokio::test]
async fn a_client_that_lists_no_refresh_grant_gets_no_refresh_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut wanted = metadata(REDIRECT);
    wanted["grant_types"] = json!(["authorization_code"]);
    let registered = doorman.register_with(&wanted).await.json();
    let client = crate::support::client::Client {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        redirect_uri: REDIRECT.to_owned(),
    };
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    answer.assert_status(200);
    assert_eq!(answer.json().get("refresh_token"), None, "\n{answer}");
}

/// While the IdP is not asked again, nothing outlives what it said.
#[tokio::test]
async fn no_access_token_outlives_its_grant() {
    let server = FakeMcpServer::start().await;
    let doorman =
        Doorman::in_front_of(server).access_lifetime(2 * HOUR).grant_lifetime(HOUR).start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    assert!(answer.json()["expires_in"].as_u64().unwrap() <= 3600, "\n{answer}");
    doorman.later(HOUR + 2 * MINUTE);
    doorman.call(&answer.tokens().access).await.assert_status(401);
}

/// A client that registered for `client_secret_basic`, and its secret.
async fn confidential_client(doorman: &Doorman) -> (Client, String) {
    let mut wanted = metadata(WEB_REDIRECT);
    wanted["token_endpoint_auth_method"] = json!("client_secret_basic");
    let registered = doorman.register_with(&wanted).await.json();
    assert_eq!(registered["token_endpoint_auth_method"], "client_secret_basic");
    let text = |name: &str| registered[name].as_str().unwrap().to_owned();
    let client = Client { id: text("client_id"), redirect_uri: WEB_REDIRECT.to_owned() };
    (client, text("client_secret"))
}

/// A token request that authenticates its client by `credentials`.
fn basic(credentials: &str) -> Request {
    Request::post("/token")
        .header("authorization", &format!("Basic {}", STANDARD.encode(credentials)))
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
