//! No token, or a bad one: what a client is told, and that nothing reaches the MCP server.

use http::Method;

use crate::support::doorman::{Doorman, HOUR, MINUTE, RESOURCE, code_form, mcp_request};
use crate::support::exchange::{Door, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

const METADATA: &str = "https://tools.example.com/.well-known/oauth-protected-resource/mcp";

/// RFC 9728 §5.1; RFC 6750 §3: no `error` where no credentials were sent
#[tokio::test]
async fn a_request_without_a_token_is_told_where_to_get_one() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.send(mcp_request(RESOURCE)).await;

    answer.assert_json_rpc_error(401);
    let challenge = answer.challenge();
    assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA));
    assert_eq!(challenge.parameter("scope"), Some("tools:read tools:write"));
    assert_eq!(challenge.parameter("error"), None);
    assert_eq!(answer.header("cache-control"), "no-store");
    doorman.upstream().assert_untouched();
}

/// Several clients find out with a bare GET or HEAD whether a login is needed.
#[tokio::test]
async fn every_method_is_challenged_before_anything_else_is_looked_at() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for method in ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"] {
        for path in ["/mcp", "/mcp/", "/mcp/deeper", "/mcp?x=1"] {
            let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), path);
            let answer = doorman.send(request.header("content-type", "text/csv")).await;
            answer.assert_status(401);
            assert_eq!(answer.challenge().parameter("resource_metadata"), Some(METADATA));
            seen += 1;
        }
    }

    assert_eq!(seen, 24);
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn the_body_is_not_looked_at_before_the_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for body in ["", "{", "[]", "\u{0}", r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#] {
        doorman.send(Request::post("/mcp").body(body)).await.assert_json_rpc_error(401);
    }

    doorman.upstream().assert_untouched();
}

/// RFC 6750 §3.1. Why a token is bad is told to the log only.
#[tokio::test]
async fn bad_tokens_are_refused_with_the_same_words() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let good = doorman.log_in().await.tokens.access;
    let cut = &good[..good.len() - 1];
    let changed = good.replace("doorman_at_", "doorman_at_A");
    let long = format!("doorman_at_{}", "A".repeat(4000));
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.";
    let mut bodies = Vec::new();

    for token in ["x", "doorman_at_", "doorman_at_AAAA", cut, &changed, &long, jwt, "!"] {
        let answer = doorman.call(token).await;
        answer.assert_json_rpc_error(401);
        let challenge = answer.challenge();
        assert_eq!(challenge.parameter("error"), Some("invalid_token"), "{token}");
        assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA), "{token}");
        bodies.push(answer.body);
    }

    assert_eq!(bodies.len(), 8);
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the body tells a forger what was wrong");
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn an_access_token_ends_with_its_lifetime() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access_lifetime(HOUR).start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.later(58 * MINUTE);
    doorman.call(&token).await.assert_status(200);
    doorman.later(4 * MINUTE);

    // Once per worker and once more: a token that was good must not stay so in a cache.
    for _ in 0..3 {
        let answer = doorman.call(&token).await;
        answer.assert_json_rpc_error(401);
        assert_eq!(answer.challenge().parameter("error"), Some("invalid_token"));
    }
}

/// RFC 9110 §11.1
#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = mcp_request(RESOURCE).header("authorization", &format!("{scheme} {token}"));
        doorman.send(request).await.assert_status(200);
    }
}

#[tokio::test]
async fn another_scheme_or_an_empty_one_is_no_credential() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for header in ["Bearer", "Bearer ", "Basic YTpi", "Digest x", &token, &format!("DPoP {token}")]
    {
        let request = mcp_request(RESOURCE).header("authorization", header);
        doorman.send(request).await.assert_json_rpc_error(401).challenge();
    }

    doorman.upstream().assert_untouched();
}

/// RFC 6750 §3.1: more than one method, or one twice, is malformed
#[tokio::test]
async fn two_tokens_are_malformed_even_if_one_is_good() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.send(doorman.request(&token).bearer("other")).await.assert_json_rpc_error(400);
    doorman.send(doorman.request("other").bearer(&token)).await.assert_json_rpc_error(400);
    doorman.send(doorman.request(&token).bearer(&token)).await.assert_json_rpc_error(400);

    doorman.upstream().assert_untouched();
}

/// OAuth 2.1 §5.2: a token in the query is in every log on the way
#[tokio::test]
async fn a_token_in_the_query_or_in_a_form_is_no_credential() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let query = format!("/mcp?access_token={token}");

    let answer = doorman.send(mcp_request(&query)).await;
    answer.assert_json_rpc_error(401);
    assert_eq!(answer.challenge().parameter("error"), None);
    let form = Request::post("/mcp").form(&[("access_token", &token)]);
    doorman.send(form).await.assert_json_rpc_error(401);

    assert!(!doorman.log().text().contains(&token));
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn a_resource_without_scopes_is_challenged_without_any() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).scopes("").start().await;

    let challenge = doorman.send(mcp_request(RESOURCE)).await.challenge();

    assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA));
    assert_eq!(challenge.parameter("scope"), None);
}

/// RFC 6750 §3.1 `insufficient_scope`; MCP "Runtime Insufficient Scope Errors": all scopes at once
#[tokio::test]
async fn a_token_with_fewer_scopes_is_told_all_that_it_needs() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;
    let narrow = doorman.authorization(&client).with("scope", "tools:read");
    let granted = doorman.complete(&doorman.browser(), &narrow).await;
    let tokens = doorman.exchange(&client, &granted).await.tokens();

    let refused = doorman.call(&tokens.access).await;

    refused.assert_json_rpc_error(403);
    let challenge = refused.challenge();
    assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
    assert_eq!(challenge.parameter("scope"), Some("tools:read tools:write"));
    assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA));
    doorman.upstream().assert_untouched();
}

/// A person who opens the URL in a browser learns what it is for; what the client learns is there too.
#[tokio::test]
async fn a_browser_gets_a_page_with_the_same_challenge() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let page = doorman.browser().get(RESOURCE).await;

    page.assert_page(401);
    assert!(page.shown().contains("<strong>https://tools.example.com/mcp"));
    assert_eq!(page.challenge().parameter("resource_metadata"), Some(METADATA));
    assert_eq!(page.header("vary"), "Accept");
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test]
async fn each_resource_names_its_own_metadata() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other/mcp", &other)
        .start()
        .await;

    let first = doorman.send(mcp_request("/mcp")).await.challenge();
    let second = doorman.send(mcp_request("/other/mcp")).await.challenge();

    assert_eq!(first.parameter("resource_metadata"), Some(METADATA));
    assert_eq!(
        second.parameter("resource_metadata"),
        Some("https://tools.example.com/.well-known/oauth-protected-resource/other/mcp")
    );
}

/// RFC 9728 §3.3: what is asked for at one host name is never another's.
#[tokio::test]
async fn resources_at_two_host_names_are_two() {
    const THERE: &str = "https://other.example.org/mcp";
    let other = FakeMcpServer::start().await;
    let doorman =
        Doorman::in_front_of(FakeMcpServer::start().await).and_at(THERE, &other).start().await;
    let (client, browser) = (doorman.register().await, doorman.browser());
    let authorization = doorman.authorization(&client).with("resource", THERE);
    let code = doorman.complete(&browser, &authorization).await;
    let foreign = doorman.token(&code_form(&client, &code, THERE)).await.tokens().access;
    let own = doorman.log_in().await.tokens.access;
    let there = Door::to(doorman.door().address, "other.example.org");

    let challenge = there.send(mcp_request("/mcp")).await.challenge();
    let crossed =
        [there.send(mcp_request("/mcp").bearer(&own)).await, doorman.call(&foreign).await];
    let metadata = "https://other.example.org/.well-known/oauth-protected-resource/mcp";
    let path = "/.well-known/oauth-protected-resource/mcp";
    let documents = [there.send(Request::get(path)).await, doorman.get(path).await];

    assert_eq!(challenge.parameter("resource_metadata"), Some(metadata));
    assert_eq!(documents.map(|document| document.json()["resource"].clone()), [THERE, RESOURCE]);
    for refused in crossed {
        assert_eq!(
            refused.assert_status(401).challenge().parameter("error"),
            Some("invalid_token")
        );
    }
    doorman.upstream().assert_untouched();
    other.assert_untouched();
    there.send(mcp_request("/mcp").bearer(&foreign)).await.assert_status(200);
    other.only_request();
    doorman.upstream().assert_untouched();
}

/// Threat F13 of the design: a server behind us knows no authorization server that leads anywhere, and may not open
/// our origin to others.
#[tokio::test]
async fn the_servers_own_challenge_and_cors_are_not_passed_on() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let headers = [
        ("www-authenticate", "Bearer resource_metadata=\"https://evil.example/x\""),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-secret"),
        ("content-type", "text/plain"),
    ];
    for (status, expected) in [(200, None), (401, Some(METADATA)), (403, None)] {
        doorman.upstream().answers(status, &headers, "x");

        let answer = doorman.call(&token).await;

        answer.assert_status(status);
        let opened = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
        assert!(!opened, "\n{answer}");
        match expected {
            Some(_) => {
                let challenge = answer.challenge();
                assert_eq!(challenge.parameter("resource_metadata"), expected);
                assert_eq!(challenge.parameter("error"), None);
            }
            None => assert!(!answer.headers.contains_key("www-authenticate"), "\n{answer}"),
        }
    }
}

/// Everything public comes from the config: a client must not be sent to an attacker's metadata.
#[tokio::test]
async fn the_challenge_does_not_believe_headers() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for name in ["x-forwarded-host", "x-forwarded-proto", "forwarded", "x-original-host"] {
        let request = mcp_request(RESOURCE).header(name, "evil.example");
        let challenge = doorman.send(request).await.challenge();
        assert_eq!(challenge.parameter("resource_metadata"), Some(METADATA), "{name}");
        seen += 1;
    }
    let answer = doorman.send(mcp_request(RESOURCE).header("host", "evil.example")).await;

    assert_eq!(seen, 4);
    answer.assert_json_rpc_error(421);
    doorman.upstream().assert_untouched();
}

/// A web page that calls us must be able to read the challenge.
#[tokio::test]
async fn a_page_of_an_allowed_origin_can_read_the_challenge() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    for origin in ["https://inspector.example.com", "http://localhost:6274"] {
        let answer = doorman.send(mcp_request(RESOURCE).header("origin", origin)).await;
        answer.assert_status(401);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(exposed.contains("www-authenticate"), "\n{answer}");
    }
}
