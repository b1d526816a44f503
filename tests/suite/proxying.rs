//! An admitted request on its way to the MCP server, and the answer on its way back.

use http::Method;
use mcp_doorman::policy::AccessEntry;
use serde_json::json;

use crate::support::doorman::{Doorman, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::FakeMcpServer;

#[tokio::test]
async fn the_server_gets_the_request_and_who_sent_it() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let body = r#"{"jsonrpc":"2.0", "id":1,"method":"tools/list","x":"é\u00e9"}"#;
    let request = Request::post("/mcp?tenant=a%20b")
        .bearer(&token)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .header("last-event-id", "event-7")
        .header("mcp-method", "tools/list")
        .header("mcp-name", "=?base64?w6k=?=")
        .header("mcp-param-region", "EU")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-custom", "kept")
        .body(body);

    doorman.send(request).await.assert_status(200);

    let received = doorman.upstream().only_request();
    assert_eq!(received.method, Method::POST);
    assert_eq!(received.target, "/mcp?tenant=a%20b");
    assert_eq!(received.body, body.as_bytes());
    for (name, value) in [
        ("x-forwarded-user", "alice-7f3a"),
        ("x-forwarded-email", "alice@example.com"),
        ("x-forwarded-groups", "engineers,mcp-users"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
        ("last-event-id", "event-7"),
        ("mcp-method", "tools/list"),
        ("mcp-name", "=?base64?w6k=?="),
        ("mcp-param-region", "EU"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-custom", "kept"),
        ("host", &doorman.upstream().authority()),
    ] {
        assert_eq!(received.values(name), [value], "{name}");
    }
}

#[tokio::test]
async fn the_client_gets_the_answer_as_it_is() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    doorman.upstream().answers(
        200,
        &[
            ("content-type", "application/json; charset=utf-8"),
            ("cache-control", "private"),
            ("x-custom", "kept"),
            ("set-cookie", "lb=42; Path=/"),
        ],
        "{\"jsonrpc\": \"2.0\"}",
    );

    let answer = doorman.call(&token).await;

    answer.assert_status(200);
    assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "private");
    assert_eq!(answer.header("x-custom"), "kept");
    assert_eq!(answer.header("set-cookie"), "lb=42; Path=/");
    assert_eq!(answer.text(), "{\"jsonrpc\": \"2.0\"}");
}

/// Clients read the server's era from these.
#[tokio::test]
async fn the_servers_own_errors_pass_unchanged() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for (status, body) in [
        (202, ""),
        (400, r#"{"jsonrpc":"2.0","error":{"code":-32020,"message":"HeaderMismatch"}}"#),
        (400, "Bad Request: no valid session ID"),
        (404, r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no"}}"#),
        (404, ""),
        (405, "Method not allowed"),
        (406, "no"),
        (500, "oops"),
    ] {
        doorman.upstream().answers(status, &[("content-type", "text/plain")], body);
        let answer = doorman.call(&token).await;
        answer.assert_status(status);
        assert_eq!(answer.text(), body);
        seen += 1;
    }

    assert_eq!(seen, 8);
}

#[tokio::test]
async fn post_get_and_delete_reach_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let methods = [Method::POST, Method::GET, Method::DELETE];

    for method in &methods {
        doorman.send(Request::new(method.clone(), "/mcp").bearer(&token)).await.assert_status(200);
    }

    let received = doorman.upstream().received();
    assert_eq!(
        received.iter().map(|request| &request.method).collect::<Vec<_>>(),
        [&methods[0], &methods[1], &methods[2]]
    );
}

#[tokio::test]
async fn the_public_path_is_mapped_to_the_servers() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .upstream_path("/internal/v1")
        .start()
        .await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for (public, internal) in [
        ("/mcp", "/internal/v1"),
        ("/mcp?a=b", "/internal/v1?a=b"),
        ("/mcp/more?id=1", "/internal/v1/more?id=1"),
    ] {
        doorman.send(mcp_request(public).bearer(&token)).await.assert_status(200);
        let received = doorman.upstream().received();
        assert_eq!(received.last().unwrap().target, internal);
        seen += 1;
    }

    assert_eq!(seen, 3);
}

/// A resource is its path and what is below, not what starts with the same letters.
#[tokio::test]
async fn a_path_beside_the_resource_is_not_served() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for path in ["/", "/mcpx", "/mcp-evil", "/MCP", "/other"] {
        let answer = doorman.send(mcp_request(path).bearer(&token)).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "{path}\n{answer}");
    }

    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn each_resource_leads_to_its_own_server() {
    let other = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .and_at("https://tools.example.com/other", &other)
        .start()
        .await;
    let client = doorman.register().await;
    let resource = "https://tools.example.com/other";
    let authorization = doorman.authorization(&client).with("resource", resource);
    let granted = doorman.complete(&doorman.browser(), &authorization).await;
    let form = crate::support::doorman::code_form(&client, &granted, resource);
    let token = doorman.token(&form).await.tokens().access;

    doorman.send(mcp_request("/other").bearer(&token)).await.assert_status(200);
    let wrong = doorman.send(mcp_request("/mcp").bearer(&token)).await;

    wrong.assert_json_rpc_error(401);
    assert_eq!(wrong.challenge().parameter("error"), Some("invalid_token"));
    doorman.upstream().assert_untouched();
    assert_eq!(other.only_request().values("x-forwarded-user"), ["alice-7f3a"]);
}

/// MCP "Access Token Privilege Restriction": the token MUST NOT be passed on
#[tokio::test]
async fn nothing_that_opens_our_door_reaches_the_server() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    login.browser.open(&doorman.authorization(&login.client).url()).await;
    let ours: Vec<_> = login.browser.cookies();
    assert!(!ours.is_empty(), "no cookie of ours to test with");
    let mut cookies = "lb=42".to_owned();
    for cookie in &ours {
        cookies = format!("{cookies}; {}={}", cookie.name, cookie.value);
    }
    let request = doorman
        .request(&login.tokens.access)
        .header("cookie", &format!("{cookies}; theme=dark"))
        .header("proxy-authorization", "Basic Y2FuYXJ5")
        .header("dpop", "canary-proof");

    doorman.send(request).await.assert_status(200);

    let received = doorman.upstream().only_request();
    assert_eq!(received.values("cookie"), ["lb=42; theme=dark"]);
    for name in ["authorization", "proxy-authorization", "dpop"] {
        assert!(received.values(name).is_empty(), "{name}");
    }
    let text = received.text();
    assert!(!text.contains(&login.tokens.access) && !text.contains("canary"), "{text}");
    assert!(ours.iter().all(|cookie| !text.contains(&cookie.value)), "{text}");
}

/// The server shares our origin, so it could set our cookies.
#[tokio::test]
async fn the_server_cannot_set_our_cookies() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    login.browser.open(&doorman.authorization(&login.client).url()).await;
    let name = login.browser.cookies()[0].name.clone();
    let ours: &'static str = format!("{name}=forged; Secure; Path=/").leak();
    let headers = [("set-cookie", ours), ("set-cookie", "lb=42"), ("content-type", "text/plain")];
    doorman.upstream().answers(200, &headers, "x");

    let answer = doorman.call(&login.tokens.access).await;

    assert_eq!(answer.assert_status(200).header("set-cookie"), "lb=42");
}

/// Other applications on our host set what they like, and the server may be one of them.
#[tokio::test]
async fn foreign_cookies_pass_byte_for_byte() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let set = [
        ("content-type", "text/plain"),
        ("set-cookie", "name=Zo\u{eb}; Path=/"),
        ("set-cookie", "doorman-x=1"),
        ("set-cookie", "=doorman-x=1"),
    ];
    doorman.upstream().answers(200, &set, "x");
    login.browser.open(&doorman.authorization(&login.client).url()).await;
    let ours = login.browser.cookies().remove(0);
    let line = format!("name=Zo\u{eb}; {}={}; odd=\"a, b\"=c", ours.name, ours.value);

    let request = doorman.request(&login.tokens.access).header("cookie", &line);
    let answer = doorman.send(request).await;

    let received = doorman.upstream().only_request();
    let kept = "name=Zo\u{eb}; odd=\"a, b\"=c".as_bytes();
    assert_eq!(received.headers["cookie"].as_bytes(), kept, "{received:?}");
    assert_eq!(answer.assert_status(200).lines("set-cookie"), ["name=Zo\u{eb}; Path=/".as_bytes()]);
}

/// RFC 9110 §7.6.1
#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    doorman.upstream().answers(
        200,
        &[("content-type", "text/plain"), ("keep-alive", "timeout=5"), ("proxy-authenticate", "x")],
        "x",
    );
    let request = doorman
        .request(&token)
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("trailer", "x-late")
        .header("proxy-connection", "keep-alive");

    let answer = doorman.send(request).await;

    answer.assert_status(200);
    assert!(!answer.headers.contains_key("keep-alive"), "\n{answer}");
    assert!(!answer.headers.contains_key("proxy-authenticate"), "\n{answer}");
    let received = doorman.upstream().only_request();
    for name in ["x-hop", "keep-alive", "te", "trailer", "proxy-connection", "upgrade"] {
        assert!(received.values(name).is_empty(), "{name} in {received:?}");
    }
}

/// RFC 9700 §4.13: what an ingress says of the client is not what a client says of itself
#[tokio::test]
async fn forwarding_headers_are_ours_to_set() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let names =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    let mut request = doorman.request(&token);
    for name in names {
        request = request.header(name, "canary.example");
    }

    doorman.send(request).await.assert_status(200);

    let received = doorman.upstream().only_request();
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"] {
        let values = received.values(name);
        assert!(values.iter().all(|value| !value.contains("canary")), "{name}: {values:?}");
    }
}

/// MCP "Streamable HTTP": servers MUST validate Origin; ours need not know how
#[tokio::test]
async fn a_web_page_of_a_foreign_origin_is_refused_even_with_a_token() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let mut seen = 0;

    for origin in [
        "https://evil.example",
        "http://tools.example.com",
        "https://tools.example.com.evil.example",
        "https://inspector.example.com.evil.example",
        "http://localhost.evil.example",
        "null",
        "",
    ] {
        let answer = doorman.send(doorman.request(&token).header("origin", origin)).await;
        answer.assert_json_rpc_error(403);
        seen += 1;
    }

    assert_eq!(seen, 7);
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn a_web_page_of_an_allowed_origin_may_call() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let any = ("access-control-allow-origin", "*");
    doorman.upstream().answers(200, &[("content-type", "application/json"), any], "{}");
    let mut seen = 0;

    for origin in [
        "https://tools.example.com",
        "https://inspector.example.com",
        "http://localhost:6274",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
    ] {
        let answer = doorman.send(doorman.request(&token).header("origin", origin)).await;
        answer.assert_status(200);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        seen += 1;
    }

    assert_eq!(seen, 5);
    for request in doorman.upstream().received() {
        assert!(request.values("origin").is_empty(), "checked, then dropped");
    }
}

/// `access:` of the design: any entry, within it all keys, of a key any value
#[tokio::test]
async fn only_those_get_in_who_should() {
    let entry = AccessEntry::default;
    let text = |text: &str| vec![text.to_owned()];
    let group = || AccessEntry { groups: text("mcp-users"), ..entry() };
    let domain = || AccessEntry { email_domains: text("example.com"), ..entry() };
    let both =
        || AccessEntry { groups: text("mcp-users"), email_domains: text("example.com"), ..entry() };
    let email = || AccessEntry { emails: text("alice@example.com"), ..entry() };
    let subject = || AccessEntry { subjects: text("alice-7f3a"), ..entry() };
    let alice = Person::alice;
    let with_email = |email| Person { email, ..alice() };
    let with_groups = |groups| Person { groups, ..alice() };
    let unverified = || Person { email_verified: false, ..alice() };
    let mut seen = 0;

    for (who_may, person, is_let_in) in [
        (vec![group()], alice(), true),
        (vec![group()], with_groups(json!([])), false),
        (vec![group()], with_groups(json!(null)), false),
        (vec![group()], with_groups(json!(["mcp-users-admin", "mcp", "MCP-USERS"])), false),
        (vec![group()], with_groups(json!({ "mcp-users": true })), false),
        (vec![group()], with_groups(json!(["other,mcp-users"])), false),
        (vec![domain()], alice(), true),
        (vec![domain()], with_email("Alice@EXAMPLE.com"), true),
        (vec![domain()], with_email("a@sub.example.com"), false),
        (vec![domain()], with_email("a@notexample.com"), false),
        (vec![domain()], with_email("a@evil.com@example.com"), false),
        (vec![domain()], with_email("a@example.com@evil.com"), false),
        (vec![domain()], with_email("example.com"), false),
        (vec![domain()], unverified(), false),
        (vec![email()], alice(), true),
        (vec![email()], with_email("alice@example.com.evil.com"), false),
        (vec![email()], unverified(), false),
        (vec![subject()], alice(), true),
        (vec![subject()], Person { sub: "alice-7f3", ..alice() }, false),
        (vec![both()], alice(), true),
        (vec![both()], with_groups(json!([])), false),
        (vec![both()], with_email("a@other.example"), false),
        (vec![both(), subject()], with_groups(json!([])), true),
    ] {
        let server = FakeMcpServer::start().await;
        let doorman = Doorman::in_front_of(server).access(&who_may).start().await;
        doorman.idp().sign_in(person.clone());
        assert_eq!(may_call(&doorman).await, is_let_in, "{who_may:?} {person:?}");
        assert_eq!(doorman.upstream().received().len(), usize::from(is_let_in));
        seen += 1;
    }

    assert_eq!(seen, 23);
}

/// Some people have hundreds of groups; clients keep a whole token answer in 1,280 characters.
#[tokio::test]
async fn hundreds_of_groups_reach_the_server_and_the_tokens_stay_small() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let groups: Vec<String> = (0..500).map(|n| format!("department-{n}")).collect();
    doorman.idp().sign_in(Person { groups: json!(groups), ..Person::alice() });
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    assert!(answer.body.len() < 1200, "{} bytes", answer.body.len());
    doorman.call(&answer.tokens().access).await.assert_status(200);
    let received = doorman.upstream().received();
    assert_eq!(received[0].headers["x-forwarded-groups"], groups.join(","));
}

#[tokio::test]
async fn without_credentials_the_path_of_a_resource_says_nothing_about_it() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    doorman.upstream().answers(404, &[], "");

    let unknown = doorman.send(mcp_request("/mcp/unknown")).await;
    let known = doorman.send(mcp_request(RESOURCE)).await;

    assert_eq!(unknown.assert_status(401).body, known.assert_status(401).body);
    doorman.upstream().assert_untouched();
}

/// Refused at the login or at the call: both are a refusal. A call is refused without
/// `insufficient_scope`, which would send the client to ask for more in circles.
async fn may_call(doorman: &Doorman) -> bool {
    let client = doorman.register().await;
    let authorization = doorman.authorization(&client);
    let end = doorman.browser().arrive(&authorization.url()).await;
    if !end.status.is_redirection() {
        end.assert_page(403);
        return false;
    }
    let landing = end.landing();
    if landing.parameter("error").is_some() {
        landing.assert_error(&["access_denied"]);
        return false;
    }
    let granted =
        crate::support::doorman::Granted { code: landing.code(), verifier: authorization.verifier };
    let answer = doorman.exchange(&client, &granted).await;
    let answer = doorman.call(&answer.tokens().access).await;
    if answer.status.is_success() {
        return true;
    }
    answer.assert_json_rpc_error(403);
    assert!(!format!("{:?}", answer.headers).contains("insufficient_scope"), "\n{answer}");
    false
}
