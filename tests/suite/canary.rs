//! Unique secrets through a whole journey and everything that can go wrong on it: each may be seen in the
//! one answer that is meant to carry it, and nowhere else. Searched are the log at its chattiest, every
//! answer with its headers, and everything that the IdP and the upstream were sent.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mcp_doorman::telemetry::LogLevel;
use url::Url;

use crate::support::browser::Browser;
use crate::support::client::Client;
use crate::support::doorman::{Doorman, Granted, RESOURCE, mcp_request};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_idp::{CLIENT_SECRET, Conduct};
use crate::support::fake_mcp_server::FakeMcpServer;

/// What nobody else may see.
struct Secret {
    what: &'static str,
    text: String,
    /// The request whose answers carry it.
    told_by: Option<&'static str>,
    /// Whether the IdP gets it, from us or through the browser.
    is_for_idp: bool,
}

#[derive(Default)]
struct Secrets(Vec<Secret>);

impl Secrets {
    fn none_may_tell(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push(Secret { what, text: text.into(), told_by: None, is_for_idp: false });
    }

    fn told_by(&mut self, request: &'static str, what: &'static str, text: impl Into<String>) {
        let told_by = Some(request);
        self.0.push(Secret { what, text: text.into(), told_by, is_for_idp: false });
    }

    /// Sent to the IdP, or come from there.
    fn of_idp(
        &mut self,
        what: &'static str,
        text: impl Into<String>,
        told_by: Option<&'static str>,
    ) {
        self.0.push(Secret { what, text: text.into(), told_by, is_for_idp: true });
    }
}

#[tokio::test]
async fn no_secret_is_seen_where_it_does_not_belong() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Trace).start().await;
    let mut secrets = Secrets::default();
    let client = doorman.register().await;
    let browser = doorman.browser();

    let access_token = a_life(&doorman, &client, &browser, &mut secrets).await;
    calls(&doorman, &access_token, &browser).await;
    what_goes_wrong(&doorman, &client).await;

    for issued in doorman.idp().issued() {
        secrets.of_idp("what the IdP issued", issued, None);
    }
    for asked in doorman.idp().asked("/token") {
        secrets.of_idp("our verifier at the IdP", &asked.parameters["code_verifier"], None);
    }
    secrets.of_idp("our secret at the IdP", CLIENT_SECRET, None);
    let encoded = STANDARD.encode(digest(&SHA256, b"this deployment"));
    secrets.none_may_tell("the sealing key", encoded);
    assert_each_stays_where_it_belongs(&doorman, &secrets.0);
}

/// Login, refresh, revocation. Returns an access token that is still good.
async fn a_life(
    doorman: &Doorman,
    client: &Client,
    browser: &Browser,
    secrets: &mut Secrets,
) -> String {
    let authorization = doorman.authorization(client);
    let page = browser.open(&authorization.url()).await;
    // What is short, or known anyway, is no secret.
    let known = [client.id.as_str(), client.redirect_uri.as_str(), RESOURCE];
    for (_, value) in page.form().hidden {
        if value.len() > 15 && !known.contains(&value.as_str()) {
            secrets.told_by("GET /authorize", "the consent ticket", value);
        }
    }
    for cookie in browser.cookies() {
        secrets.told_by("GET /authorize", "a cookie of the consent page", cookie.value);
    }
    let callback = browser.up_to_the_callback(&authorization.url()).await;
    for (name, value) in Url::parse(&callback).unwrap().query_pairs() {
        if name == "state" {
            let told_by = Some("POST /oauth/consent");
            secrets.of_idp("our state", value.into_owned(), told_by);
        }
    }
    let code = browser.get(&callback).await.landing().code();
    secrets.told_by("GET /oauth/callback", "the code", &code);
    // The client gets its own back, at the end.
    secrets.told_by("GET /oauth/callback", "the client's state", &authorization.state);
    secrets.none_may_tell("the client's verifier", &authorization.verifier);

    let granted = Granted { code, verifier: authorization.verifier };
    let first = doorman.exchange(client, &granted).await.tokens();
    let second = doorman.refresh(client, &first.refresh).await.tokens();
    let other = doorman.log_in().await;
    doorman.revoke(&other.client, &other.tokens.refresh).await.assert_status(200);
    doorman.call(&other.tokens.access).await.assert_status(401);
    doorman.exchange(&other.client, &granted).await.assert_status(400);
    for tokens in [first, second.clone(), other.tokens] {
        secrets.told_by("POST /token", "an access token", tokens.access);
        secrets.told_by("POST /token", "a refresh token", tokens.refresh);
    }
    secrets.none_may_tell("what a client sent in the wrong place", "misplaced-");
    // The same callback once more, in vain.
    browser.get(&callback).await.assert_stopped_on_a_page();
    second.access
}

/// With everything where it belongs and where it does not.
async fn calls(doorman: &Doorman, token: &str, browser: &Browser) {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"key":"value"}}"#;
    let jar: Vec<String> =
        browser.cookies().iter().map(|kept| format!("{}={}", kept.name, kept.value)).collect();
    let request = Request::post("/mcp?key=value").bearer(token).header("cookie", &jar.join("; "));
    doorman.send(request.body(body)).await.assert_status(200);
    assert!(!doorman.upstream().received().is_empty());

    doorman.send(mcp_request(&format!("/mcp?access_token={token}"))).await.assert_status(401);
    for nonsense in ["misplaced-1", "Basic misplaced-2", "Bearer misplaced-3"] {
        let request = mcp_request(RESOURCE).header("authorization", nonsense);
        doorman.send(request).await.assert_status(401);
    }
    doorman.upstream().answers(500, &[], "broken");
    doorman.send(doorman.request(token)).await.assert_status(500);
}

async fn what_goes_wrong(doorman: &Doorman, client: &Client) {
    doorman.refresh(client, "misplaced-4").await.assert_status(400);
    let form =
        [("client_secret", "misplaced-5"), ("code", "misplaced-6"), ("password", "misplaced-7")];
    doorman.token(&form).await;
    doorman.get("/oauth/callback?state=misplaced-8&code=misplaced-9").await.assert_page(400);
    doorman.get("/authorize?client_id=misplaced-10&state=misplaced-11").await.assert_page(400);
    for conduct in [
        Conduct::AccessDenied,
        Conduct::TokenEndpointFails,
        Conduct::WrongNonce,
        Conduct::OurSecretExpired,
    ] {
        doorman.idp().conduct(conduct);
        doorman.browser().arrive(&doorman.authorization(client).url()).await;
    }
}

fn assert_each_stays_where_it_belongs(doorman: &Doorman, secrets: &[Secret]) {
    let (log, said) = (doorman.log().text(), doorman.said());
    let answers: Vec<(&str, String)> =
        said.iter().map(|exchange| (exchange.asked(), Exchange::answer(exchange))).collect();
    let upstream = format!("{:?}", doorman.upstream().received());
    let idp = ["/authorize", "/token", "/jwks"].map(|path| doorman.idp().asked(path));
    let idp: Vec<_> =
        idp.iter().flatten().map(|asked| (&asked.parameters, &asked.headers)).collect();
    let idp = format!("{idp:?}");
    // Each of them has something to tell.
    assert!(log.lines().count() > 20 && answers.len() > 20, "{log}");
    assert!(upstream.len() > 500 && idp.len() > 2000);
    let mut told = 0;

    for Secret { what, text, told_by, is_for_idp } in secrets {
        assert!(text.len() > 6, "{what} is no secret: {text}");
        assert!(!log.contains(text.as_str()), "{what} ({text}) is in the log:\n{log}");
        assert!(!upstream.contains(text.as_str()), "{what} reached the upstream:\n{upstream}");
        assert!(*is_for_idp || !idp.contains(text.as_str()), "{what} reached the IdP:\n{idp}");
        for (asked, answer) in &answers {
            if answer.contains(text.as_str()) {
                assert_eq!(Some(*asked), *told_by, "{what} ({text}) is in the answer\n{answer}");
                told += 1;
            }
        }
    }

    // Nothing was searched for in vain because it looks different on the wire.
    let meant_to_be_told = secrets.iter().filter(|secret| secret.told_by.is_some()).count();
    assert!(meant_to_be_told >= 10, "{meant_to_be_told}");
    assert!(told >= meant_to_be_told, "{told} of {meant_to_be_told} were seen at all");
}
