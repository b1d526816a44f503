//! Clients that are known by a document at the URL that is their id
//! (draft-ietf-oauth-client-id-metadata-document; MCP, "Client ID Metadata Documents").
//!
//! Whoever can open the authorization endpoint chooses what is fetched, so most of this is about what
//! must not happen.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mcp_doorman::authorization_server::clients::document::{Document, Support};
use mcp_doorman::oauth::ClientIdUrl;
use mcp_doorman::outbound::Route;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::document_host::{DOCUMENT, DocumentHost, Manner, document, known_by, raw};
use crate::support::doorman::{DAY, Doorman, MINUTE, REDIRECT, WEB_REDIRECT};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

/// RFC 8252 §7.3: the document can't know the port.
const ANY_PORT: &str = "http://127.0.0.1/callback";
const METADATA: &str = "/.well-known/oauth-authorization-server";
const SUPPORTED: &str = "client_id_metadata_document_supported";

#[tokio::test]
async fn a_client_logs_in_by_its_document_alone() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    let login = doorman.log_in_with(known_by(DOCUMENT, REDIRECT)).await;

    doorman.call(&login.tokens.access).await.assert_status(200);
    let refreshed = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    doorman.call(&refreshed.access).await.assert_status(200);
    doorman.revoke(&login.client, &refreshed.refresh).await.assert_status(200);
    doorman.call(&refreshed.access).await.assert_status(401);
}

/// §4: what a stranger learns of us is that somebody asked
#[tokio::test]
async fn the_document_is_fetched_plainly() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    doorman.log_in_with(known_by(DOCUMENT, REDIRECT)).await;

    let requests = host.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let lines: Vec<_> = request.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[0], "GET /oauth/client.json HTTP/1.1");
    let names: Vec<_> = lines[1..].iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["accept", "accept-encoding", "user-agent", "host"]);
    assert!(lines.contains(&"accept: application/json"), "{request}");
    assert!(lines.contains(&"accept-encoding: identity"), "{request}");
    assert!(lines.contains(&"host: client.example"), "{request}");
}

/// §6.4; MCP, "Localhost Redirect URI Risks"
#[tokio::test]
async fn the_page_says_whose_document_it_is() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;

    let html = page.assert_page(200).shown();
    assert!(
        html.contains("<strong>client.example</strong> says that this is Example Client"),
        "\n{page}"
    );
    assert!(!html.contains("unverified"), "\n{page}");
    assert!(html.contains("127.0.0.1:33418"), "\n{page}");
    assert!(html.contains("any program there can pretend to be"), "\n{page}");
}

#[tokio::test]
async fn a_client_that_also_waits_on_the_web_needs_no_such_warning() {
    let host = DocumentHost::start().await;
    host.publish(DOCUMENT, &document(DOCUMENT, &[ANY_PORT, WEB_REDIRECT]));
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    let page = open(&doorman, &known_by(DOCUMENT, WEB_REDIRECT)).await;

    page.assert_page(200);
    assert!(!page.text().contains("can pretend to be"), "\n{page}");
}

#[tokio::test]
async fn a_redirect_uri_must_be_in_the_document() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let mut seen = 0;

    for uri in [
        WEB_REDIRECT,
        "http://127.0.0.1/callback/",
        "http://localhost/callback",
        "https://127.0.0.1/callback",
        "javascript:alert(1)",
    ] {
        open(&doorman, &known_by(DOCUMENT, uri)).await.assert_stopped_on_a_page();
        seen += 1;
    }

    assert_eq!(seen, 5);
}

/// §6.5; RFC 6890: of several addresses, none may be private
#[tokio::test]
async fn nothing_but_the_public_internet_is_dialled() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let addresses = include_str!("../not_public_addresses.txt").lines();
    let mut seen = 0;

    for address in addresses.filter(|line| !line.starts_with('#')) {
        for beside in [&[address][..], &["93.184.215.14", address], &[address, "2606:4700::1"]] {
            let name = format!("{seen}.client.example");
            host.has_addresses(&name, beside);
            let url = format!("https://{name}/client.json");
            let page = open(&doorman, &known_by(&url, REDIRECT)).await;
            page.assert_page(503);
            doorman.later(MINUTE / 10);
            seen += 1;
        }
    }

    assert!(seen >= 3 * 70, "only {seen} tried");
    assert_eq!(host.lookups().len(), seen);
    assert_eq!(host.connections().len(), 0);
    assert!(doorman.log().text().contains("169.254.169.254, which is not of the public internet"));
}

/// The resolver would never see an address that stands in place of a name.
#[tokio::test]
async fn what_is_not_a_plain_https_url_is_not_even_looked_up() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let mut seen = 0;

    for url in [
        "http://client.example/client.json",
        "http://127.0.0.1/client.json",
        "http://localhost/client.json",
        "https://127.0.0.1/client.json",
        "https://2130706433/client.json",
        "https://0x7f.1/client.json",
        "https://0177.0.0.1/client.json",
        "https://[::1]/client.json",
        "https://[::ffff:169.254.169.254]/client.json",
        "https://169.254.169.254/latest/meta-data/",
        "https://93.184.215.14/client.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/a/../client.json",
        "https://client.example/a/%2e%2e/client.json",
        "https://client.example/./client.json",
        "https://client.example/client.json#",
        "https://client.example/client.json#x",
        "https://a:b@client.example/client.json",
        "https://other.example@client.example/client.json",
        "https://client.example\\client.json",
        "https://client.example:443/client.json",
        "https://CLIENT.example/client.json",
        "HTTPS://client.example/client.json",
        "https://client.example./client.json",
        "https://client.example/a b",
        "https://client.example/client.json\n",
        "ftp://client.example/client.json",
        "file:///etc/passwd",
        "unix://run/docker.sock",
    ] {
        let page = open(&doorman, &known_by(url, REDIRECT)).await;
        assert!(page.assert_page(400).text().contains("is not valid"), "{url}\n{page}");
        seen += 1;
    }

    assert_eq!(seen, 30);
    assert_eq!(host.lookups(), Vec::<String>::new());
    assert_eq!(host.connections().len(), 0);
}

/// DNS rebinding: the second answer is never asked for
#[tokio::test]
async fn the_address_that_was_judged_is_the_one_that_is_dialled() {
    let (host, inside) =
        (DocumentHost::of_a_client_at(ANY_PORT).await, DocumentHost::start().await);
    let metadata_service =
        Route { address: "169.254.169.254".parse().unwrap(), ..inside.route("1.1.1.1") };
    let answers = vec![vec![host.route("93.184.215.14")], vec![metadata_service]];
    host.has_routes("client.example", answers);
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    open(&doorman, &known_by(DOCUMENT, REDIRECT)).await.assert_page(200);

    assert_eq!(host.lookups(), ["client.example"]);
    assert_eq!((host.connections().len(), inside.connections().len()), (1, 0));
}

/// §4: only 200; redirects are not followed
#[tokio::test]
async fn an_answer_that_is_not_the_document_is_not_used() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let good = document(DOCUMENT, &[ANY_PORT]).to_string();
    let json = "content-type: application/json";
    let chunk = format!("1400\r\n{}\r\n", "x".repeat(0x1400));
    let mut padded = good.clone();
    padded.push_str(&" ".repeat(5121 - good.len()));
    let mut seen = 0;

    for manner in [
        raw(&format!("302 Found\r\nlocation: /elsewhere\r\n{json}"), &good),
        raw(&format!("301 Moved\r\nlocation: https://other.example/x\r\n{json}"), &good),
        raw(&format!("307 Moved\r\nlocation: http://169.254.169.254/\r\n{json}"), &good),
        raw(&format!("201 Created\r\n{json}"), &good),
        raw(&format!("203 Changed\r\n{json}"), &good),
        raw(&format!("206 Partial\r\n{json}"), &good),
        raw(&format!("404 Not Found\r\n{json}"), &good),
        raw(&format!("500 Down\r\n{json}"), &good),
        raw("200 OK\r\ncontent-type: text/html", &good),
        raw("200 OK\r\ncontent-type: text/plain", &good),
        raw("200 OK", &good),
        raw(&format!("200 OK\r\n{json}\r\n{json}"), &good),
        raw(&format!("200 OK\r\n{json}\r\ncontent-encoding: gzip"), &good),
        raw(&format!("200 OK\r\n{json}\r\ncontent-encoding: br, identity"), &good),
        raw(&format!("200 OK\r\n{json}\r\ncontent-length: 5121"), &padded),
        raw(&format!("200 OK\r\n{json}"), &padded),
        raw(&format!("200 OK\r\n{json}\r\ncontent-length: 1073741824"), ""),
        raw(&format!("200 OK\r\n{json}\r\ncontent-length: 5000"), &good),
        raw("nonsense", ""),
        Manner::Endless(format!("HTTP/1.1 200 OK\r\n{json}\r\n\r\n{chunk}").into_bytes()),
        Manner::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Manner::Endless(b"x-endless: yes\r\n".to_vec()),
    ] {
        host.behaves(manner.clone());
        let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;
        page.assert_page(503);
        assert_eq!(page.header("retry-after"), "30");
        // What failed is forgotten, and so is how often it was asked.
        doorman.later(MINUTE);
        seen += 1;
    }

    assert_eq!(seen, 22);
    assert_eq!(host.connections().len(), seen);
    assert!(host.requests().iter().all(|head| head.starts_with("GET /oauth/client.json ")));
    assert_eq!(host.lookups().iter().filter(|name| *name != "client.example").count(), 0);
    // And none of it spoiled anything.
    padded.pop();
    for manner in [
        raw(&format!("200 OK\r\n{json}"), &padded),
        raw("200 OK\r\ncontent-type: application/x+json;a=b\r\ncontent-encoding: identity", &good),
    ] {
        host.behaves(manner);
        open(&doorman, &known_by(DOCUMENT, REDIRECT)).await.assert_page(200);
        doorman.later(DAY);
    }
}

/// Four at once; three seconds to begin with the answer, five to end it.
#[tokio::test]
async fn a_slow_host_holds_up_nobody_for_long() {
    let host = DocumentHost::start().await;
    host.behaves(Manner::Stalled(Vec::new()));
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let clients = (0..6).map(|number| format!("https://{number}.client.example/c"));
    let clients: Vec<_> = clients.map(|url| known_by(&url, REDIRECT)).collect();
    let start = Instant::now();

    let pages = open_at_once(&doorman, &clients).await;

    let arrivals = host.connections();
    for page in pages {
        page.assert_page(503);
    }
    assert_eq!(arrivals.len(), 6);
    assert!(arrivals[4] - start >= Duration::from_secs(2), "more than four at once");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let host = DocumentHost::start().await;
    let begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{".to_vec();
    host.behaves(Manner::Stalled(begun));
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let start = Instant::now();

    let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;

    page.assert_page(503);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    assert!(doorman.log().text().contains("not whole within 5 s"));
}

/// §4, §4.1, §6.2: what a document must and must not say. The whole table is beside its parser.
#[tokio::test]
async fn a_document_that_breaks_the_rules_is_refused_on_a_page() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let changed = |member: &str, value: Value| {
        let mut changed = document(DOCUMENT, &[ANY_PORT]);
        changed[member] = value;
        changed
    };
    let mut seen = 0;

    for (published, reason) in [
        (changed("client_id", json!("https://client.example/oauth/client")), "of another client"),
        (
            changed("client_id", json!("https://client.example:443/oauth/client.json")),
            "of another client",
        ),
        (changed("client_secret", json!("canary")), "client_secret"),
        (
            changed("token_endpoint_auth_method", json!("client_secret_basic")),
            "client_secret_basic",
        ),
        (changed("token_endpoint_auth_method", json!("private_key_jwt")), "private_key_jwt"),
        (changed("client_name", json!("\u{202e}")), "client_name"),
        (changed("redirect_uris", json!(["javascript:alert(1)"])), "redirect_uris"),
        (changed("redirect_uris", json!("http://127.0.0.1/callback")), "not JSON"),
    ] {
        host.publish(DOCUMENT, &published);
        let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;
        let html = page.assert_page(400).shown();
        assert!(html.contains(reason), "no {reason}\n{page}");
        let id = html.split("request id: ").nth(1).unwrap().get(..16).unwrap().to_owned();
        let line = doorman.log().line_with(&id).await;
        assert!(line.contains(reason) && line.contains(DOCUMENT), "{line}");
        doorman.later(MINUTE);
        seen += 1;
    }

    assert_eq!(seen, 8);
}

/// Whether a host inside exists, listens or answers must not be told to whoever asks.
#[tokio::test]
async fn every_way_to_fail_looks_the_same_to_a_stranger() {
    let host = DocumentHost::start().await;
    host.has_addresses("private.client.example", &["10.0.0.1"]);
    host.has_addresses("nowhere.client.example", &[]);
    let refusing: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let closed = Route { address: "1.1.1.1".parse().unwrap(), dial: refusing };
    host.has_routes("closed.client.example", vec![vec![closed]]);
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let mut looks = Vec::new();

    for name in ["private", "nowhere", "closed", "not-found", "a.not-in-the-certificate"] {
        let url = format!("https://{name}.client.example/c");
        let page = open(&doorman, &known_by(&url, REDIRECT)).await;
        page.assert_page(503);
        looks.push(page.answer().split("request id").next().unwrap().to_owned());
    }

    looks.dedup();
    assert_eq!(looks.len(), 1, "{looks:#?}");
}

/// §4.3; RFC 9111 §4.2.1
#[tokio::test]
async fn a_document_is_used_for_as_long_as_its_publisher_says() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);
    open(&doorman, &client).await.assert_page(200);
    host.publish(DOCUMENT, &document(DOCUMENT, &[WEB_REDIRECT]));

    doorman.later(59 * MINUTE);
    open(&doorman, &client).await.assert_page(200);
    assert_eq!(host.requests().len(), 1);
    doorman.later(MINUTE);

    // What counts is the document as it is now, not as it was when somebody approved the client.
    open(&doorman, &client).await.assert_stopped_on_a_page();
    assert_eq!(host.requests().len(), 2);
}

#[tokio::test]
async fn no_document_is_used_for_less_than_five_minutes_or_more_than_a_day() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);
    let second = Duration::from_secs(1);

    for (lines, just_before) in [
        ("cache-control: no-store\r\n", 299 * second),
        ("cache-control: max-age=999999999\r\n", 86_399 * second),
    ] {
        host.behaves(Manner::Published(lines));
        let before = host.requests().len();
        open(&doorman, &client).await.assert_page(200);
        doorman.later(just_before);
        open(&doorman, &client).await.assert_page(200);
        assert_eq!(host.requests().len(), before + 1, "{lines}");
        doorman.later(second);
        open(&doorman, &client).await.assert_page(200);
        assert_eq!(host.requests().len(), before + 2, "{lines}");
        doorman.later(2 * DAY);
    }
}

/// §4.3: errors are not cached; but nobody makes us ask again and again
#[tokio::test]
async fn a_failure_is_forgotten_after_half_a_minute() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);
    host.behaves(raw("503 Down", ""));
    open(&doorman, &client).await.assert_page(503);
    host.behaves(Manner::Published(""));

    open(&doorman, &client).await.assert_page(503);
    assert_eq!(host.requests().len(), 1);
    doorman.later(Duration::from_secs(30));

    open(&doorman, &client).await.assert_page(200);
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_request() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);

    let pages = open_at_once(&doorman, &vec![client; 20]).await;

    for page in pages {
        page.assert_page(200);
    }
    assert_eq!(host.requests().len(), 1);
}

/// We are no means to knock at somebody else's door.
#[tokio::test]
async fn no_host_is_asked_more_than_twenty_times_a_minute_and_all_not_more_than_sixty() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    for number in 0..100 {
        let url = format!("https://client.example/{number}");
        open(&doorman, &known_by(&url, REDIRECT)).await.assert_page(503);
    }
    assert_eq!(host.requests().len(), 20);
    for number in 0..100 {
        let url = format!("https://{number}.client.example/c");
        open(&doorman, &known_by(&url, REDIRECT)).await.assert_page(503);
    }
    assert_eq!(host.requests().len(), 60);

    // What was refused for that was no verdict on anybody's document, not even for half a minute.
    let late = "https://client.example/99";
    host.publish(late, &document(late, &[ANY_PORT]));
    doorman.later(Duration::from_secs(50));
    open(&doorman, &known_by(late, REDIRECT)).await.assert_page(503);
    assert_eq!(host.requests().len(), 60);
    doorman.later(Duration::from_secs(10));
    open(&doorman, &known_by(late, REDIRECT)).await.assert_page(200);
}

/// A login outlives an outage of whoever publishes the document.
#[tokio::test]
async fn tokens_do_not_need_the_document() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);
    let granted = doorman.authorize(&client).await;
    host.behaves(raw("503 Down", ""));
    let before = host.connections().len();

    let tokens = doorman.exchange(&client, &granted).await.tokens();
    doorman.later(3 * DAY);
    let tokens = doorman.refresh(&client, &tokens.refresh).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);
    doorman.revoke(&client, &tokens.refresh).await.assert_status(200);

    assert_eq!(host.connections().len(), before);
}

/// RFC 6749 §4.1.3: a code is the client's that asked for it
#[tokio::test]
async fn another_clients_url_redeems_nothing() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);
    let granted = doorman.authorize(&client).await;
    let mut seen = 0;

    for url in
        ["https://client.example/oauth/client.jsn", "https://other.example/oauth/client.json"]
    {
        let other = known_by(url, REDIRECT);
        doorman.exchange(&other, &granted).await.assert_error(400, "invalid_grant");
        seen += 1;
    }
    for url in ["https://client.example:443/oauth/client.json", "https://127.0.0.1/c"] {
        let other = known_by(url, REDIRECT);
        doorman.exchange(&other, &granted).await.assert_error(401, "invalid_client");
        seen += 1;
    }

    assert_eq!(seen, 4);
    let tokens = doorman.exchange(&client, &granted).await.tokens();
    let other = known_by("https://other.example/oauth/client.json", REDIRECT);
    doorman.refresh(&other, &tokens.refresh).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_client_that_does_not_refresh_gets_no_refresh_token() {
    let host = DocumentHost::start().await;
    let mut published = document(DOCUMENT, &[ANY_PORT]);
    published["grant_types"] = json!(["authorization_code"]);
    host.publish(DOCUMENT, &published);
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;
    let client = known_by(DOCUMENT, REDIRECT);

    let granted = doorman.authorize(&client).await;
    let issued = doorman.exchange(&client, &granted).await;

    issued.assert_status(200);
    assert!(issued.json().get("refresh_token").is_none(), "\n{issued}");
}

/// §6.5: nothing that a document names is fetched, or shown as a picture or link
#[tokio::test]
async fn what_a_document_links_to_is_left_alone() {
    let host = DocumentHost::start().await;
    let mut published = document(DOCUMENT, &[ANY_PORT]);
    for member in ["logo_uri", "jwks_uri", "policy_uri", "tos_uri", "client_uri"] {
        published[member] = json!(format!("https://other.example/{member}"));
    }
    host.publish(DOCUMENT, &published);
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;
    doorman.log_in_with(known_by(DOCUMENT, REDIRECT)).await;

    assert!(!page.assert_page(200).text().contains("other.example"), "\n{page}");
    assert_eq!(host.lookups(), ["client.example"]);
    assert_eq!(host.requests().len(), 1);
}

/// A list that does not match never falls back to letting everybody in.
#[tokio::test]
async fn only_allowed_domains_are_asked() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let allowed = ["other.example", "*.client.example"].map(str::to_owned).to_vec();
    let doorman = doorman.documents(|settings| settings.allowed_domains = Some(allowed));
    let doorman = doorman.start().await;

    for url in [
        DOCUMENT,
        "https://other.example.client.com/c",
        "https://notother.example/c",
        "https://a.other.example/c",
        "https://aclient.example/c",
        "https://client.example.evil.example/c",
    ] {
        let client = known_by(url, REDIRECT);
        let page = open(&doorman, &client).await;
        assert!(page.assert_page(400).text().contains("has not allowed"), "\n{page}");
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", url)];
        doorman.token(&form).await.assert_error(401, "invalid_client");
    }
    assert_eq!(host.lookups(), Vec::<String>::new());
    for url in
        ["https://other.example/c", "https://a.client.example/c", "https://b.client.example:8443/c"]
    {
        host.publish(url, &document(url, &[ANY_PORT]));
        if url.contains(":8443") {
            // Nobody listens there; that it is tried is enough.
            open(&doorman, &known_by(url, REDIRECT)).await.assert_page(503);
        } else {
            open(&doorman, &known_by(url, REDIRECT)).await.assert_page(200);
        }
    }
    assert_eq!(host.lookups().len(), 3);
}

#[tokio::test]
async fn a_port_may_be_named() {
    let host = DocumentHost::start().await;
    let port = host.route("1.1.1.1").dial.port();
    let url = format!("https://client.example:{port}/c");
    host.publish(&url, &document(&url, &[ANY_PORT]));
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    doorman.log_in_with(known_by(&url, REDIRECT)).await;
}

#[tokio::test]
async fn a_pinned_document_is_never_fetched() {
    let host = DocumentHost::start().await;
    let url = ClientIdUrl::parse(DOCUMENT).unwrap();
    let text = document(DOCUMENT, &[ANY_PORT]).to_string();
    let pinned = Document::parse(&url, text.as_bytes(), &[]).unwrap();
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let doorman = doorman.documents(|settings| {
        settings.allowed_domains = Some(vec!["other.example".to_owned()]);
        settings.pinned = vec![(url, pinned)];
    });
    let doorman = doorman.start().await;

    let login = doorman.log_in_with(known_by(DOCUMENT, REDIRECT)).await;

    doorman.call(&login.tokens.access).await.assert_status(200);
    assert_eq!((host.lookups().len(), host.connections().len()), (0, 0));
}

#[tokio::test]
async fn where_documents_are_off_a_url_is_nobodys_id() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let doorman = doorman.documents(|settings| settings.support = Support::Never).start().await;

    let page = open(&doorman, &known_by(DOCUMENT, REDIRECT)).await;

    page.assert_page(400);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", DOCUMENT)];
    doorman.token(&form).await.assert_error(401, "invalid_client");
    assert_eq!(host.lookups(), Vec::<String>::new());
    assert!(doorman.get(METADATA).await.json().get(SUPPORTED).is_none());
}

/// §5
#[tokio::test]
async fn the_metadata_says_that_documents_are_supported() {
    let host = DocumentHost::start().await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host).start().await;

    for path in
        [METADATA, "/.well-known/openid-configuration", "/mcp/.well-known/openid-configuration"]
    {
        assert_eq!(doorman.get(path).await.json()[SUPPORTED], true, "{path}");
    }
}

/// Clients that find it advertised don't register when it fails.
#[tokio::test]
async fn documents_are_advertised_while_those_of_known_clients_are_within_reach() {
    let host = DocumentHost::start().await;
    let probed = [DOCUMENT, "https://other.example/c"].map(|url| ClientIdUrl::parse(url).unwrap());
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let doorman = doorman.documents(|settings| {
        settings.support = Support::WithinReach;
        settings.probed = probed.to_vec();
        settings.probe_pause = Duration::from_millis(20);
    });
    host.publish(DOCUMENT, &document(DOCUMENT, &[ANY_PORT]));
    let doorman = doorman.start().await;

    // One of two is not enough: a client that is promised it has no other way.
    let line = doorman.log().line_with("\"advertised\":false").await;
    assert!(line.contains("https://other.example/c") && line.contains("404"), "{line}");
    assert_eq!(advertised(&doorman).await, None);
    host.publish("https://other.example/c", &document("https://other.example/c", &[ANY_PORT]));
    until_advertised(&doorman, Some(true)).await;
    host.behaves(raw("500 Down", ""));
    until_advertised(&doorman, None).await;

    let changes: Vec<_> = doorman
        .log()
        .lines()
        .iter()
        .filter_map(|line| line["fields"]["advertised"].as_bool().or(line["advertised"].as_bool()))
        .collect();
    assert_eq!(changes, [false, true, false]);
    // Whoever comes by a document all the same is not turned away for it.
    host.behaves(Manner::Published(""));
    doorman.later(DAY);
    open(&doorman, &known_by(DOCUMENT, REDIRECT)).await.assert_page(200);
}

/// Strangers can use up what is granted to strangers, and nothing else.
#[tokio::test]
async fn known_clients_get_in_whatever_strangers_ask_for() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let doorman = doorman.documents(|settings| {
        settings.support = Support::WithinReach;
        settings.probed = vec![ClientIdUrl::parse(DOCUMENT).unwrap()];
        settings.probe_pause = Duration::from_millis(20);
    });
    let doorman = doorman.start().await;
    doorman.log().line_with("\"advertised\":true").await;

    for number in 0..=60 {
        let url = format!("https://{number}.client.example/c");
        open(&doorman, &known_by(&url, REDIRECT)).await.assert_page(503);
    }
    doorman.log().line_with("requests to strangers in a minute").await;
    let asked = host.requests().len();
    let probed_again = async {
        while host.requests().len() == asked {
            tokio::task::yield_now().await;
        }
    };
    soon("another probe", probed_again).await;

    open(&doorman, &known_by(DOCUMENT, REDIRECT)).await.assert_page(200);
    assert_eq!(advertised(&doorman).await, Some(true));
}

/// §6.5: both on loopback, as when somebody tries things out
#[tokio::test]
async fn plain_http_is_for_loopback_issuers_that_say_so() {
    let host = DocumentHost::start().await;
    let url = "http://localhost:1/client.json";

    for (resource, allows_private, status) in [
        ("http://127.0.0.1:1234/mcp", true, 503),
        ("http://127.0.0.1:1234/mcp", false, 400),
        ("https://tools.example.com/mcp", true, 400),
    ] {
        let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
        let doorman = doorman.documents(|settings| settings.allows_private_hosts = allows_private);
        let issuer = resource.trim_end_matches("/mcp");
        let doorman = doorman.issuer(issuer).at(resource).start().await;
        let before = host.lookups().len();
        let authorization = doorman.authorization(&known_by(url, REDIRECT)).url();
        let authority = issuer.split("//").nth(1).unwrap();
        let page = doorman.send(Request::get(&authorization).header("host", authority)).await;
        page.assert_page(status);
        // Nobody listens there; that it is tried is enough.
        assert_eq!(host.lookups().len() - before, usize::from(status == 503), "{resource}");
    }
}

/// For documents on an intranet; everything else stays as it is.
#[tokio::test]
async fn private_hosts_can_be_allowed() {
    let host = DocumentHost::of_a_client_at(ANY_PORT).await;
    host.has_addresses("client.example", &["10.0.0.1", "fd00::1"]);
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).reading(&host);
    let doorman = doorman.documents(|settings| settings.allows_private_hosts = true).start().await;

    open(&doorman, &known_by(DOCUMENT, REDIRECT)).await.assert_page(200);

    for url in ["https://10.0.0.1/c", "https://[::1]/c", "https://127.0.0.1/c"] {
        open(&doorman, &known_by(url, REDIRECT)).await.assert_page(400);
    }
    assert_eq!(host.connections().len(), 1);
}

async fn open(doorman: &Doorman, client: &Client) -> Exchange {
    doorman.browser().open(&doorman.authorization(client).url()).await
}

/// Each in a browser of its own.
async fn open_at_once(doorman: &Doorman, clients: &[Client]) -> Vec<Exchange> {
    let mut opening = JoinSet::new();
    for client in clients {
        let (browser, url) = (doorman.browser(), doorman.authorization(client).url());
        opening.spawn(async move { browser.open(&url).await });
    }
    soon("a page for everyone", opening.join_all()).await
}

async fn advertised(doorman: &Doorman) -> Option<bool> {
    doorman.get(METADATA).await.json().get(SUPPORTED).and_then(Value::as_bool)
}

/// Time passes meanwhile: the probes have a budget too.
async fn until_advertised(doorman: &Doorman, expected: Option<bool>) {
    let reached = async {
        while advertised(doorman).await != expected {
            doorman.later(Duration::from_secs(20));
        }
    };
    soon("the metadata to change", reached).await;
}
