//! What `try` starts: a sample MCP server in both eras, a login that is as strict as a real one, and the
//! sidecar in front.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use mcp_doorman::app::Surroundings;
use mcp_doorman::app::memory::Memory;
use mcp_doorman::chance::Chance;
use mcp_doorman::clock::{Clock, ManualClock};
use mcp_doorman::demo::{self, Demo, DemoFault, DemoSettings};
use mcp_doorman::wire::UpstreamUrl;
use serde_json::{Value, json};
use tracing::Dispatch;
use url::Url;

use crate::support::client::{Authorization, Client, metadata};
use crate::support::document_host::no_internet;
use crate::support::doorman::{DAY, Granted, REDIRECT, code_form, mcp_request};
use crate::support::exchange::{Door, Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

async fn start(listen: &str) -> Result<Demo, DemoFault> {
    start_in(Clock::System, listen, None).await
}

async fn start_in(clock: Clock, listen: &str, upstream: Option<&str>) -> Result<Demo, DemoFault> {
    let upstream = upstream.map(|url| UpstreamUrl::parse(url).unwrap());
    let settings = DemoSettings { listen: listen.parse().unwrap(), upstream };
    let (chance, log, memory) = (Chance::system(), Dispatch::none(), Memory::default());
    let internet = no_internet();
    let surroundings = Surroundings { clock, chance, log, internet, memory, store: None };
    demo::start(settings, surroundings).await
}

async fn any_demo() -> Demo {
    start("127.0.0.1:0").await.unwrap()
}

async fn send(url: &str, request: Request) -> Exchange {
    let url = Url::parse(url).unwrap();
    let address: SocketAddr = *url.socket_addrs(|| None).unwrap().first().unwrap();
    Door::to(address, address.to_string()).send(request).await
}

async fn get(url: &str) -> Exchange {
    send(url, Request::get(url)).await
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    for elsewhere in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = start(elsewhere).await.unwrap_err();

        assert!(matches!(refused, DemoFault::NotLoopback(_)), "{elsewhere}: {refused}");
        assert!(refused.to_string().contains("loopback"), "{refused}");
    }
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let first = any_demo().await;
    let taken = Url::parse(&first.url).unwrap().socket_addrs(|| None).unwrap()[0].to_string();

    let refused = start(&taken).await.unwrap_err();

    assert!(refused.to_string().contains(&taken), "{refused}");
}

/// Two demos on one machine are two: neither the password nor a token of one is good at the other.
#[tokio::test]
async fn every_run_has_a_password_of_its_own() {
    let (one, other) = (any_demo().await, any_demo().await);

    assert_ne!(one.password.expose(), other.password.expose());
    assert_eq!(one.password.expose().len(), 16);
}

/// Through consent, up to the login page of the demo.
async fn login_page(demo: &Demo) -> String {
    begin(demo).await.login_page
}

/// A login up to the login page of the demo.
struct Begun {
    client: Client,
    verifier: String,
    cookie: String,
    consent: Exchange,
    login_page: String,
}

async fn begin(demo: &Demo) -> Begun {
    let issuer = demo.url.strip_suffix("/mcp").unwrap();
    let register = format!("{issuer}/register");
    let registered = send(&register, Request::post(&register).json(&metadata(REDIRECT))).await;
    let id = registered.json()["client_id"].as_str().unwrap().to_owned();
    let client = Client { id, redirect_uri: REDIRECT.to_owned() };
    let authorization = Authorization::of(&client, &format!("{issuer}/authorize"), &demo.url);
    let page = get(&authorization.url()).await;
    let cookie = cookie(&page);
    let html = page.text();
    let ticket = html.split("name=\"ticket\" value=\"").nth(1).unwrap();
    let ticket = ticket.split('"').next().unwrap();
    let consent = format!("{issuer}/oauth/consent");
    let form = Request::post(&consent).form(&[("ticket", ticket), ("decision", "approve")]);
    let form = form.header("cookie", &cookie).header("origin", issuer);
    let answer = send(&consent, form).await;
    let login_page = answer.location().to_string();
    let cookie =
        if answer.headers.contains_key("set-cookie") { self::cookie(&answer) } else { cookie };
    Begun { client, verifier: authorization.verifier, cookie, consent: page, login_page }
}

fn cookie(answer: &Exchange) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Long after the sidecar has to ask again about the person, and would have given up if nobody answered.
#[tokio::test]
async fn a_login_lasts_as_long_as_the_demo() {
    let clock = ManualClock::starting_at(Clock::System.now());
    let demo = start_in(Clock::Manual(clock.clone()), "127.0.0.1:0", None).await.unwrap();
    let Begun { client, verifier, cookie, login_page, .. } = begin(&demo).await;
    let form = [("username", "demo"), ("password", demo.password.expose())];
    let callback = send(&login_page, Request::post(&login_page).form(&form)).await.location();
    let callback = Request::get(callback.as_str()).header("cookie", &cookie);
    let landing = send(&demo.url, callback).await.location();
    let code = landing.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let token = demo.url.replace("/mcp", "/token");
    let granted = Granted { code, verifier };
    let form = code_form(&client, &granted, &demo.url);
    let mut tokens = send(&token, Request::post(&token).form(&form)).await.tokens();

    for _ in 0..3 {
        clock.advance(DAY);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh.as_str()),
            ("client_id", client.id.as_str()),
        ];
        tokens = send(&token, Request::post(&token).form(&form)).await.tokens();
    }

    let call = mcp_request(&demo.url).bearer(&tokens.access);
    send(&demo.url, call).await.assert_status(200);
}

/// A page of another site may have its own name point to 127.0.0.1 (DNS rebinding).
#[tokio::test]
async fn nothing_answers_to_another_name() {
    let demo = any_demo().await;
    let login = login_page(&demo).await;
    let mut refused = 0;

    for url in [&demo.upstream, &login, &demo.url] {
        let address: SocketAddr =
            *Url::parse(url).unwrap().socket_addrs(|| None).unwrap().first().unwrap();
        for host in ["evil.example", "127.0.0.1", "localhost"] {
            let host = format!("{host}:{}", if host == "127.0.0.1" { 1 } else { address.port() });
            Door::to(address, host).send(Request::get(url)).await.assert_status(421);
            refused += 1;
        }
    }

    assert_eq!(refused, 9);
}

#[tokio::test]
async fn ones_own_server_is_not_called_the_demos() {
    let server = FakeMcpServer::start().await;
    let own = start_in(Clock::System, "127.0.0.1:0", Some(&server.url("/mcp"))).await.unwrap();
    let down = FakeMcpServer::refusing().url("/mcp");
    let down = start_in(Clock::System, "127.0.0.1:0", Some(&down)).await.unwrap();
    let sample = any_demo().await;

    assert!(own.upstream_answers && sample.upstream_answers && !down.upstream_answers);
    let named = "the demo MCP server";
    assert!(begin(&sample).await.consent.text().contains(named));
    assert!(!begin(&own).await.consent.text().contains(named));
}

#[tokio::test]
async fn the_login_sends_nobody_to_another_client_than_its_own() {
    let demo = any_demo().await;
    let page = login_page(&demo).await;
    get(&page).await.assert_page(200);
    let mut refused = 0;

    for (name, value) in [
        ("redirect_uri", "https://evil.example/"),
        ("client_id", "another"),
        ("code_challenge_method", "plain"),
        ("response_type", "token"),
        ("nonce", ""),
        ("state", ""),
    ] {
        let mut url = Url::parse(&page).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let pairs = pairs
            .into_iter()
            .map(|(own, old)| if own == name { (own, value.to_owned()) } else { (own, old) });
        let pairs: Vec<_> = pairs.collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        get(url.as_str()).await.assert_status(400);
        let form = [("username", "demo"), ("password", demo.password.expose())];
        let answer = send(url.as_str(), Request::post(url.as_str()).form(&form)).await;
        answer.assert_status(400);
        assert!(!answer.headers.contains_key("location"), "{name}: {answer}");
        refused += 1;
    }

    assert_eq!(refused, 6);
}

#[tokio::test]
async fn the_login_wants_the_password_that_was_printed() {
    let demo = any_demo().await;
    let page = login_page(&demo).await;
    let password = demo.password.expose().to_owned();
    let attempt = async |username: &str, password: &str| {
        let form = [("username", username), ("password", password)];
        send(&page, Request::post(&page).form(&form)).await
    };

    for (username, password) in [
        ("demo", ""),
        ("demo", "demo"),
        ("", password.as_str()),
        ("admin", password.as_str()),
        ("demo", &password[1..]),
    ] {
        attempt(username, password).await.assert_status(401);
    }
    let answer = attempt("demo", &password).await;

    assert_eq!(answer.location().path(), "/oauth/callback");
}

#[tokio::test]
async fn a_code_of_the_login_is_for_the_sidecar_alone() {
    let demo = any_demo().await;
    let page = login_page(&demo).await;
    let form = [("username", "demo"), ("password", demo.password.expose())];
    let landing = send(&page, Request::post(&page).form(&form)).await.location();
    let code = landing.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let token = Url::parse(&page).unwrap().join("/token").unwrap().to_string();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", landing.as_str()),
        ("code_verifier", "a-verifier-that-somebody-made-up-0123456789-abcdefg"),
    ];
    let guess = format!("Basic {}", STANDARD.encode("mcp-doorman:guess"));

    let nobody = send(&token, Request::post(&token).form(&form)).await;
    let guessed =
        send(&token, Request::post(&token).form(&form).header("authorization", &guess)).await;

    nobody.assert_error(401, "invalid_client");
    guessed.assert_error(401, "invalid_client");
}

/// What the sample server answers to `body`, with `headers` besides the usual ones.
async fn ask(demo: &Demo, body: &Value, headers: &[(&str, &str)]) -> Exchange {
    let mut request = Request::post(&demo.upstream).json(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    send(&demo.upstream, request).await
}

#[tokio::test]
async fn the_sample_server_speaks_the_older_revisions() {
    let demo = any_demo().await;
    let mut seen = 0;

    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": { "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } },
        });
        let answer = ask(&demo, &body, &[]).await.json();
        assert_eq!(answer["result"]["protocolVersion"], agreed, "{answer}");
        seen += 1;
    }
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    ask(&demo, &notification, &[]).await.assert_status(202);
    let unknown = json!({ "jsonrpc": "2.0", "id": "a", "method": "resources/list" });
    let unknown = ask(&demo, &unknown, &[("mcp-protocol-version", "2025-11-25")]).await;
    unknown.assert_status(200);
    assert_eq!(unknown.json()["error"]["code"], -32601);
    assert_eq!(unknown.json()["id"], "a");
    let listed = ask(&demo, &json!([1, "ping", {}]), &[]).await;
    assert_eq!(listed.json()["error"]["code"], -32600);
    get(&demo.upstream).await.assert_status(405);
    let end = Request::new(Method::DELETE, &demo.upstream);
    send(&demo.upstream, end).await.assert_status(405);

    assert_eq!(seen, 4);
}

/// A request of the stateless era for `method`, and its headers.
fn stateless(
    method: &'static str,
    version: &'static str,
) -> (Value, Vec<(&'static str, &'static str)>) {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": { "_meta": meta } });
    (body, vec![("mcp-protocol-version", version), ("mcp-method", method)])
}

#[tokio::test]
async fn the_sample_server_speaks_the_stateless_revision() {
    let demo = any_demo().await;

    let (body, headers) = stateless("server/discover", "2026-07-28");
    let discovered = ask(&demo, &body, &headers).await.json();
    let (body, headers) = stateless("tools/list", "2026-07-28");
    let listed = ask(&demo, &body, &headers).await.json();
    let (mut body, mut headers) = stateless("tools/call", "2026-07-28");
    body["params"]["name"] = json!("echo");
    body["params"]["arguments"] = json!({ "message": "hello" });
    headers.push(("mcp-name", "echo"));
    let called = ask(&demo, &body, &headers).await.json();

    assert_eq!(discovered["result"]["supportedVersions"], json!(["2026-07-28"]));
    for answer in [&discovered, &listed, &called] {
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
        assert_eq!(answer["id"], 7);
    }
    assert_eq!(listed["result"]["cacheScope"], "public");
    assert_eq!(called["result"]["content"][0]["text"], "hello");
}

/// MCP 2026-07-28, streamable HTTP: headers that differ from the body, an unknown revision, an unknown
/// method each have their own code and status.
#[tokio::test]
async fn the_sample_server_refuses_what_the_stateless_revision_forbids() {
    let demo = any_demo().await;
    let good = stateless("tools/list", "2026-07-28");
    let mut call = stateless("tools/call", "2026-07-28");
    call.0["params"]["name"] = json!("echo");
    call.1.push(("mcp-name", "add"));
    let without = |name: &str| {
        let (body, mut headers) = stateless("tools/list", "2026-07-28");
        headers.retain(|(own, _)| *own != name);
        (body, headers)
    };
    let mut bare = stateless("tools/list", "2026-07-28");
    bare.0["params"] = json!({});
    let mut seen = 0;

    for ((body, headers), status, code) in [
        ((good.0.clone(), vec![good.1[0], ("mcp-method", "tools/call")]), 400, -32020),
        (without("mcp-method"), 400, -32020),
        (call, 400, -32020),
        (bare, 400, -32602),
        (stateless("tools/list", "2099-01-01"), 400, -32022),
        (stateless("ping", "2026-07-28"), 404, -32601),
    ] {
        let answer = ask(&demo, &body, &headers).await;
        answer.assert_status(status);
        assert_eq!(answer.json()["error"]["code"], code, "{answer}");
        seen += 1;
    }
    let (_, headers) = good;
    ask(&demo, &json!([]), &headers).await.assert_status(400);

    assert_eq!(seen, 6);
}

#[tokio::test]
async fn a_tool_that_is_asked_wrongly_says_how_it_wants_to_be_asked() {
    let demo = any_demo().await;
    let mut seen = 0;

    for (name, arguments) in [
        ("echo", json!({})),
        ("add", json!({ "a": "1", "b": 2 })),
        ("count", json!({ "to": 0 })),
        ("count", json!({ "to": 1_000_000 })),
        ("count", json!({ "to": "3" })),
    ] {
        let params = json!({ "name": name, "arguments": arguments });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let answer = ask(&demo, &body, &[]).await.json();
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        seen += 1;
    }

    assert_eq!(seen, 5);
}
