//! The log: tells the story of a login and of a refusal. That it tells no secret is for `canary`.

use http::Method;
use mcp_doorman::telemetry::{self, LogFormat, LogLevel, LogSettings};
use serde_json::Value;

use crate::support::doorman::{Doorman, HOUR, MINUTE, RESOURCE, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_idp::Conduct;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::log::CapturedLog;

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

/// What a stranger could write to forge a line, to move the cursor, to set a title or to turn what is around
/// it (RUSTSEC-2025-0055, CVE-2021-42574).
const FORGERIES: [&str; 10] = [
    "\n2026-01-01T00:00:00Z  INFO forged",
    "\r\n2026-01-01T00:00:00Z  INFO forged",
    "\r  INFO forged",
    "\u{1b}[2J\u{1b}[31mforged\u{1b}[0m",
    "\u{1b}]0;forged\u{7}\u{1b}]8;;https://evil.example\u{1b}\\\\",
    "\u{9b}2Jforged",
    "\u{8}\u{8}\u{7f}forged",
    "\u{85}forged\u{2028}forged",
    "\u{202e}degrof",
    "\u{2066}forged\u{200f}",
];

/// Log one event with `forgery` wherever a stranger's text may stand.
fn logged(format: LogFormat, forgery: &str) -> String {
    let log = CapturedLog::new();
    let dispatch = telemetry::log_to(&LogSettings { format, level: LogLevel::Info }, log.clone());
    tracing::dispatcher::with_default(&dispatch, || {
        let span = tracing::error_span!("request", client_id = %forgery, said = ?forgery);
        span.in_scope(|| tracing::error!(fault = %forgery, error = forgery, "it said {forgery}"));
    });
    log.text()
}

fn is_harmless(text: &str) -> bool {
    let turns = ['\u{2028}', '\u{202e}', '\u{2066}', '\u{200f}'];
    !text.chars().any(|letter| letter.is_control() || turns.contains(&letter))
}

#[test]
fn a_stranger_cannot_forge_lines_of_text_nor_move_the_cursor() {
    for forgery in FORGERIES {
        let text = logged(LogFormat::Text, forgery);

        let line = text.strip_suffix('\n').unwrap();
        assert!(is_harmless(line), "{line:?}");
        assert!(line.contains("ERROR") && line.contains("client_id="), "{line}");
    }
    let shown = logged(LogFormat::Text, "a\n\u{1b}[2J\u{202e}b");
    assert!(shown.contains(r"fault=a\n\u{1b}[2J\u{202e}b"), "{shown}");
}

#[test]
fn a_stranger_cannot_turn_lines_of_json_and_they_say_the_same() {
    for forgery in FORGERIES {
        let text = logged(LogFormat::Json, forgery);

        let line = text.strip_suffix('\n').unwrap();
        assert!(is_harmless(line), "{line:?}");
        let read: Value = serde_json::from_str(line).unwrap();
        assert_eq!(read["error"], forgery);
    }
}

#[track_caller]
fn request_id(line: &Value) -> String {
    let id = line["request_id"].as_str().unwrap_or_else(|| panic!("no request_id: {line:#}"));
    assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line:#}");
    id.to_owned()
}

/// What the upstream answers is none of our business, but shows what is set up wrongly. Told once a minute.
#[tokio::test]
async fn an_upstream_that_answers_oddly_is_told_seldom() {
    let doorman =
        Doorman::in_front_of(FakeMcpServer::start().await).log_level(LogLevel::Info).start().await;
    let token = doorman.log_in().await.tokens.access;
    let post = || doorman.request(&token);
    let get = || Request::get(RESOURCE).bearer(&token);
    let delete = || Request::new(Method::DELETE, RESOURCE).bearer(&token);
    let mut seen = 0;

    for (status, request, told) in [
        (401, post(), Some("ask for authentication")),
        (403, get(), None), // the same oddity, a moment later
        (307, post(), Some("slash")),
        (404, post(), Some("is the path")),
        (405, post(), None),
        (500, get(), Some("its own log")),
        (503, post(), None),
        (200, post(), None),
        (400, post(), None),
        (405, get(), None),
        (405, delete(), None),
    ] {
        assert_told(&doorman, status, request, told).await;
        seen += 1;
    }
    doorman.later(MINUTE);
    doorman.upstream().answers(200, &[("mcp-session-id", "one")], "{}");
    let session = doorman.call(&token).await.header("mcp-session-id").to_owned();
    for (status, request, told) in [
        (405, get(), None),
        (405, delete(), None),
        (404, post().header("mcp-session-id", &session), None),
        (404, post().header("mcp-method", "tools/list"), None),
        (405, post(), Some("is the path")),
        (403, get(), Some("ask for authentication")),
    ] {
        assert_told(&doorman, status, request, told).await;
        seen += 1;
    }

    assert_eq!(seen, 17);
}

/// An answer with `status` leaves one warning with `told` in it, or none.
async fn assert_told(doorman: &Doorman, status: u16, request: Request, told: Option<&str>) {
    let before = doorman.log().lines().len();
    doorman.upstream().answers(status, &[("content-type", "application/json")], "{}");

    doorman.send(request).await.assert_status(status);

    let lines = doorman.log().lines().split_off(before);
    assert_eq!(lines.len(), usize::from(told.is_some()), "{status}: {lines:#?}");
    if let (Some(told), Some(line)) = (told, lines.first()) {
        request_id(line);
        assert_eq!(line["level"], "WARN", "{line:#}");
        assert_eq!(line["whose_fault"], "upstream", "{line:#}");
        assert_eq!(line["status"], status, "{line:#}");
        assert!(line["message"].as_str().unwrap().contains(told), "{line:#}");
    }
}
