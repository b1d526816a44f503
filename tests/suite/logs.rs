//! The log: tells the story of a login and of a refusal, and no secret.

use mcp_doorman::telemetry::LogLevel;
use serde_json::Value;

use crate::support::doorman::{Doorman, HOUR, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_idp::{CLIENT_SECRET, Conduct};
use crate::support::fake_mcp_server::FakeMcpServer;

#[tokio::test]
async fn a_login_is_told_in_one_line_per_step() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Info).start().await;
    doorman.log_in().await;
    let mut told = doorman.log().lines().len();
    let mut steps = Vec::new();
    let mut note = |doorman: &Doorman, step: &'static str| {
        let lines = doorman.log().lines().split_off(told);
        told += lines.len();
        steps.push((step, lines));
    };

    let client = doorman.register().await;
    note(&doorman, "registration");
    let browser = doorman.browser();
    let authorization = doorman.authorization(&client);
    let page = browser.open(&authorization.url()).await;
    note(&doorman, "consent page");
    let to_idp = browser.approve(&page).await.location();
    note(&doorman, "approval");
    let landing = browser.open(to_idp.as_str()).await.landing();
    note(&doorman, "callback");
    let (code, verifier) = (landing.code(), authorization.verifier);
    let granted = crate::support::doorman::Granted { code, verifier };
    let tokens = doorman.exchange(&client, &granted).await.tokens();
    note(&doorman, "code exchange");
    let tokens = doorman.refresh(&client, &tokens.refresh).await.tokens();
    note(&doorman, "refresh");
    doorman.revoke(&client, &tokens.refresh).await.assert_status(200);
    note(&doorman, "revocation");

    let mut ids = Vec::new();
    for (step, lines) in &steps {
        assert_eq!(lines.len(), 1, "{step}: {lines:#?}");
        ids.push(request_id(&lines[0]));
    }
    assert_eq!(ids.len(), 7);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7, "each request has its own id");
}

/// The body of a refusal is always the same; the log says which it was.
#[tokio::test]
async fn the_log_says_why_a_token_was_refused() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Info).start().await;
    let expired = doorman.log_in().await.tokens.access;
    doorman.later(2 * HOUR);
    let revoked = doorman.log_in().await;
    doorman.revoke(&revoked.client, &revoked.tokens.refresh).await.assert_status(200);
    let mut reasons = Vec::new();

    for token in [&expired, &revoked.tokens.access, &"garbled".to_owned()] {
        let told = doorman.log().lines().len();
        doorman.call(token).await.assert_status(401);
        let mut lines = doorman.log().lines().split_off(told);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        request_id(&lines[0]);
        let fields = lines[0].as_object_mut().unwrap();
        for changing in ["timestamp", "request_id", "client_id", "grant_id"] {
            fields.remove(changing);
        }
        reasons.push(lines.remove(0).to_string());
    }

    assert_eq!(reasons.len(), 3);
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons.len(), 3, "{reasons:#?}");
}

#[tokio::test]
async fn a_failed_login_says_whose_fault_it_was() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Info).start().await;
    let mut seen = 0;

    for conduct in [Conduct::WrongNonce, Conduct::BadSignature, Conduct::TokenEndpointFails] {
        doorman.idp().conduct(conduct);
        let client = doorman.register().await;
        let browser = doorman.browser();
        let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
        let told = doorman.log().lines().len();
        browser.get(&callback).await;
        let lines = doorman.log().lines().split_off(told);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        request_id(&lines[0]);
        assert_ne!(lines[0]["level"], "INFO", "{conduct:?}: {lines:#?}");
        assert!(lines[0].to_string().contains("idp"), "{conduct:?}: {lines:#?}");
        seen += 1;
    }

    assert_eq!(seen, 3);
}

/// Whatever happens, at the chattiest level: no token, code, verifier, cookie, secret or body.
#[tokio::test]
async fn no_secret_is_in_the_log() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Trace).start().await;
    let login = doorman.log_in().await;
    let client = login.client.clone();
    let mut secrets = vec![
        CLIENT_SECRET.to_owned(),
        "canary".to_owned(),
        login.tokens.access.clone(),
        login.tokens.refresh.clone(),
    ];

    // A login that succeeds, step by step.
    let browser = doorman.browser();
    let authorization = doorman.authorization(&client);
    let page = browser.open(&authorization.url()).await;
    // What is short, or known anyway, is no secret.
    let known = [client.id.as_str(), client.redirect_uri.as_str(), RESOURCE];
    let hidden = page.form().hidden.into_iter().map(|(_, value)| value);
    secrets.extend(hidden.filter(|value| value.len() > 15 && !known.contains(&value.as_str())));
    let callback = browser.up_to_the_callback(&authorization.url()).await;
    secrets.extend(browser.cookies().into_iter().map(|cookie| cookie.value));
    let callback_url = url::Url::parse(&callback).unwrap();
    for (name, value) in callback_url.query_pairs() {
        if name != "iss" {
            secrets.push(value.into_owned());
        }
    }
    let code = browser.get(&callback).await.landing().code();
    secrets.extend([code.clone(), authorization.verifier.clone(), authorization.state]);
    let granted = crate::support::doorman::Granted { code, verifier: authorization.verifier };
    let tokens = doorman.exchange(&client, &granted).await.tokens();
    let newest = doorman.refresh(&client, &tokens.refresh).await.tokens();
    secrets.extend([tokens.access, tokens.refresh, newest.access.clone(), newest.refresh.clone()]);

    // Calls with everything where it belongs and where it does not.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"key":"canary"}}"#;
    let request = Request::post("/mcp?key=canary").bearer(&newest.access);
    let request = request.header("mcp-session-id", "canary").header("cookie", "a=canary");
    doorman.send(request.body(body)).await.assert_status(200);
    let query = format!("/mcp?access_token={}", newest.access);
    doorman.send(mcp_request(&query)).await.assert_status(401);
    doorman.send(mcp_request(RESOURCE).header("authorization", "canary")).await.assert_status(401);
    doorman.call("canary").await.assert_status(401);

    // What goes wrong.
    doorman.exchange(&client, &granted).await.assert_status(400);
    doorman.refresh(&client, "canary").await.assert_status(400);
    doorman.token(&[("client_secret", "canary"), ("code", "canary")]).await;
    browser.get(&callback).await.assert_stopped_on_a_page();
    for conduct in [
        Conduct::AccessDenied,
        Conduct::TokenEndpointFails,
        Conduct::WrongNonce,
        Conduct::OurSecretExpired,
    ] {
        doorman.idp().conduct(conduct);
        let browser = doorman.browser();
        browser.arrive(&doorman.authorization(&client).with("state", "canary").url()).await;
    }
    doorman.revoke(&client, &newest.refresh).await.assert_status(200);

    let log = doorman.log().text();
    assert!(doorman.log().lines().len() > 10, "nothing was logged: {log}");
    assert!(secrets.len() > 15);
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log:\n{log}");
    }
}

/// A log line is one line, whatever a client calls itself.
#[tokio::test]
async fn a_client_cannot_write_lines_of_its_own() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let mut named = crate::support::client::metadata(crate::support::doorman::REDIRECT);
    named["client_name"] =
        serde_json::json!("x\n{\"level\":\"INFO\",\"forged\":true}\r\n\u{1b}[31m");

    doorman.register_with(&named).await;
    let path = "/mcp/\u{1b}[31m";
    doorman.send(mcp_request(&path.replace('\u{1b}', "%1b"))).await;

    // `lines` reads each one as JSON.
    let lines = doorman.log().lines();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line.get("forged").is_none()), "{lines:#?}");
    assert!(!doorman.log().text().contains('\u{1b}'));
}

#[track_caller]
fn request_id(line: &Value) -> String {
    let id = line["request_id"].as_str().unwrap_or_else(|| panic!("no request_id: {line:#}"));
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line:#}");
    id.to_owned()
}
