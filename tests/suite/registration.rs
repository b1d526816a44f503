//! `POST /register`: a client that nobody knows introduces itself (RFC 7591).

use http::Method;
use serde_json::{Value, json};

use crate::support::client::metadata;
use crate::support::doorman::{Doorman, REDIRECT, WEB_REDIRECT};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;

/// RFC 7591 §3.2.1
#[tokio::test]
async fn a_client_gets_an_id_and_its_metadata_back() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.register_with(&metadata(REDIRECT)).await;

    answer.assert_status(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let registered = answer.json();
    let id = registered["client_id"].as_str().unwrap();
    assert!(id.starts_with("doorman_ci_"), "{id}");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{id}");
    assert!(id.len() <= 300, "{} characters", id.len());
    assert_eq!(registered["client_name"], "Example Client");
    assert_eq!(registered["redirect_uris"], json!([REDIRECT]));
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    assert_eq!(registered["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_no_empty_members(&registered);
}

#[tokio::test]
async fn a_client_may_say_nothing_but_where_it_waits() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let answer = doorman.register_with(&json!({ "redirect_uris": [REDIRECT] })).await;

    answer.assert_status(201);
    assert_no_empty_members(&answer.json());
    assert!(answer.json().get("client_name").is_none(), "\n{answer}");
}

/// RFC 7591 §2: unknown members MUST be ignored
#[tokio::test]
async fn members_that_mean_nothing_to_us_are_ignored() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut odd = metadata(REDIRECT);
    odd["resource"] = json!("https://tools.example.com/mcp");
    odd["software_id"] = json!("x");
    odd["logo_uri"] = json!("https://evil.example/logo.png");
    odd["application_type"] = json!("native");
    odd["scope"] = json!("openid email profile tools:read");
    odd["x"] = json!({ "deep": [[[]]] });

    let answer = doorman.register_with(&odd).await;

    answer.assert_status(201);
    assert!(!answer.json()["scope"].to_string().contains("email"), "\n{answer}");
}

/// OAuth 2.1 §2.3.1; RFC 8252 §7; what the clients in use register
#[tokio::test]
async fn web_loopback_and_listed_schemes_may_be_mixed() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut mixed = metadata(REDIRECT);
    mixed["redirect_uris"] = json!([
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://localhost:3334/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ]);

    doorman.register_with(&mixed).await.assert_status(201);
}

/// RFC 7591 §3.2.2
#[tokio::test]
async fn redirect_uris_that_could_leave_the_client_are_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for uri in [
        "",
        "/callback",
        "http://example.com/cb",
        "http://127.0.0.1.evil.com/cb",
        "https://example.com/cb#fragment",
        "https://user@example.com/cb",
        "https://example.com\\@evil.com/cb",
        "https://example.com/\ncb",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "intent://x",
        "unlisted://callback",
        // What a person reads on the consent page must be where the browser goes.
        "https://%63laude.ai/cb",
        "https://%D1%81laude.ai/cb",
        "http://%6cocalhost/cb",
        "https://CLAUDE.ai/cb",
    ] {
        let alone = doorman.register_with(&metadata(uri)).await;
        alone.assert_error(400, "invalid_redirect_uri");
        let mut beside = metadata(WEB_REDIRECT);
        beside["redirect_uris"] = json!([WEB_REDIRECT, uri]);
        doorman.register_with(&beside).await.assert_error(400, "invalid_redirect_uri");
        seen += 1;
    }

    assert_eq!(seen, 18);
}

#[tokio::test]
async fn a_client_without_a_redirect_uri_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    let none = doorman.register_with(&json!({ "client_name": "x" })).await;
    let empty = doorman.register_with(&json!({ "redirect_uris": [] })).await;

    none.assert_error(400, "invalid_redirect_uri");
    empty.assert_error(400, "invalid_redirect_uri");
}

#[tokio::test]
async fn what_is_not_client_metadata_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut seen = 0;

    for body in [
        "",
        "{",
        "[]",
        r#"[["http://127.0.0.1/callback"]]"#,
        "null",
        "\"x\"",
        r#"{"redirect_uris": "https://client.example.com/cb"}"#,
        r#"{"redirect_uris": [1]}"#,
        r#"{"redirect_uris": ["https://client.example.com/cb"], "client_name": {}}"#,
    ] {
        let request = Request::post("/register").header("content-type", "application/json");
        let answer = doorman.send(request.body(body)).await;
        answer.assert_status(400);
        assert!(answer.json()["error"].is_string(), "{body}\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 9);
}

/// The id carries the metadata, and clients must be able to store it.
#[tokio::test]
async fn metadata_too_large_for_an_id_is_refused() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut large = metadata(REDIRECT);
    large["redirect_uris"] =
        (0..6).map(|i| format!("https://example.com/{i}/{}", random_path(400))).collect();

    doorman.register_with(&large).await.assert_error(400, "invalid_client_metadata");
}

#[tokio::test]
async fn a_registration_that_never_ends_is_not_read_to_its_end() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut huge = metadata(REDIRECT);
    huge["client_name"] = json!("x".repeat(64 * 1024));

    let answer = doorman.register_with(&huge).await;

    assert!([400, 413].contains(&answer.status.as_u16()), "\n{answer}");
}

/// Identical metadata must not give a stranger the id of a client that people have approved.
#[tokio::test]
async fn the_same_metadata_never_gets_the_same_id() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;

    assert_ne!(doorman.register().await.id, doorman.register().await.id);
}

/// Nobody can recover at `/authorize` from a lost registration.
#[tokio::test]
async fn a_registration_outlives_the_process() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;

    let doorman = doorman.restarted().await;

    doorman.log_in_with(client).await;
}

/// RFC 7591 §3.2.1: a secret where the method needs one, and none where it doesn't
#[tokio::test]
async fn the_method_returned_fits_what_was_issued() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let supported = doorman.get("/.well-known/oauth-authorization-server").await.json();
    let supported = supported["token_endpoint_auth_methods_supported"].as_array().unwrap().clone();
    let mut seen = 0;

    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let mut wanted = metadata(WEB_REDIRECT);
        wanted["token_endpoint_auth_method"] = json!(method);
        let answer = doorman.register_with(&wanted).await;
        let registered = answer.assert_status(201).json();
        let returned = &registered["token_endpoint_auth_method"];
        assert!(supported.contains(returned), "\n{answer}");
        if supported.contains(&json!(method)) {
            assert_eq!(returned, method, "\n{answer}");
        }
        let has_secret = registered.get("client_secret").is_some_and(Value::is_string);
        assert_eq!(has_secret, returned != "none", "\n{answer}");
        let has_expiry = registered.get("client_secret_expires_at").is_some_and(Value::is_u64);
        assert_eq!(has_expiry, has_secret, "\n{answer}");
        seen += 1;
    }

    assert_eq!(seen, 3);
}

#[tokio::test]
async fn without_dynamic_registration_nobody_registers() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).no_dynamic_registration().start().await;

    let answer = doorman.register_with(&metadata(REDIRECT)).await;

    assert!([403, 404].contains(&answer.status.as_u16()), "\n{answer}");
    assert_eq!(answer.header("cache-control"), "no-store", "\n{answer}");
}

/// RFC 7592 is not offered: nobody changes or deletes a registration.
#[tokio::test]
async fn a_registration_cannot_be_managed() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let client = doorman.register().await;

    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = doorman.send(Request::new(method.clone(), "/register")).await;
        answer.assert_status(405);
        let path = format!("/register/{}", client.id);
        let answer = doorman.send(Request::new(method, &path)).await;
        assert!([401, 404, 405].contains(&answer.status.as_u16()), "\n{answer}");
    }

    doorman.log_in_with(client).await;
}

#[track_caller]
fn assert_no_empty_members(registered: &Value) {
    for (name, value) in registered.as_object().unwrap() {
        assert!(!value.is_null() && value != "" && value != &json!([]), "{name} is {value}");
    }
}

/// Text that does not compress away.
fn random_path(length: usize) -> String {
    let mut path = String::new();
    while path.len() < length {
        path.push_str(&crate::support::random_text());
    }
    path.truncate(length);
    path
}
