//! MCP servers over TLS and at Unix sockets: the same as over plain HTTP, and nobody else is taken for one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::tempdir;
use tokio::net::TcpListener;

use crate::support::client::Authorization;
use crate::support::doorman::{Builder, Doorman, RESOURCE, code_form, mcp_request};
use crate::support::exchange::Request;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::program::{LOCAL, Program};
use crate::support::soon;
use crate::support::tls_authority::{Clients, Signed, TlsAuthority};

const OTHER: &str = "https://tools.example.com/other/mcp";

/// A doorman before `server` over TLS, which shows `signed`. `more` stands in `upstream_tls`.
async fn over_tls(
    server: FakeMcpServer,
    signed: &Signed,
    trusted: &TlsAuthority,
    more: &str,
) -> (Builder, String) {
    let port = server.also_over_tls(signed.acceptor(Clients::Anybody)).await;
    let address = format!("localhost:{port}");
    let yaml = format!("upstream: https://{address}/mcp, upstream_tls: {{ ca: /ca.pem{more} }}");
    let files = [("/ca.pem", trusted.pem())];
    (Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &files), address)
}

async fn trusting_it() -> (Builder, String) {
    let authority = TlsAuthority::new();
    let server = FakeMcpServer::start().await;
    over_tls(server, &authority.signs("localhost"), &authority, "").await
}

async fn at_socket(socket: &Path) -> Builder {
    let server = FakeMcpServer::start().await;
    server.also_at(socket);
    reaching_socket(server, socket)
}

fn reaching_socket(server: FakeMcpServer, socket: &Path) -> Builder {
    let yaml = format!("upstream: \"unix:{}:/mcp\"", socket.display());
    Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &[])
}

/// What is the same whatever the bytes go over.
pub async fn carries_calls_and_streams(doorman: Doorman, host: &str) {
    doorman.until_ready().await;
    let token = doorman.log_in().await.tokens.access;

    // A call; one with more in both directions than any buffer on the way holds.
    doorman.call(&token).await.assert_status(200);
    let received = doorman.upstream().only_request();
    // RFC 9113 §8.3.1: one of the two.
    let said = received.values("host").into_iter().chain(received.authority.as_deref());
    assert_eq!(said.collect::<Vec<_>>(), [host]);
    assert_eq!(received.target, "/mcp");
    let flood = 3 * 1024 * 1024;
    doorman.upstream().floods(flood);
    let body: Vec<u8> = (0_u32..1_000_000).flat_map(u32::to_le_bytes).collect();
    let answer = doorman.send(doorman.request(&token).body(body.clone())).await;
    assert_eq!(answer.assert_status(200).text().len(), flood);
    assert!(doorman.upstream().received()[1].body == body, "the request's body changed");

    // A stream that says something now and then, and ends.
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    for number in 0..3 {
        feed.event(&format!("event {number}"));
        assert_eq!(stream.until("\n\n").await, format!("data: event {number}\n\n"));
    }
    feed.end();
    assert!(stream.next_bytes().await.is_none(), "a proper end is a proper end");

    // One that the client leaves, and one that breaks.
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("started");
    stream.until("started").await;
    stream.hang_up();
    doorman.upstream().hang_up().await;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("started");
    stream.until("started").await;
    feed.break_off();
    assert!(stream.next_bytes().await.unwrap().is_err(), "it looks whole");
}

#[tokio::test]
async fn a_server_over_tls_is_as_good_as_any() {
    let (builder, address) = trusting_it().await;

    carries_calls_and_streams(builder.start().await, &address).await;
}

#[tokio::test]
async fn a_server_at_a_socket_is_as_good_as_any() {
    let folder = tempdir().unwrap();
    let doorman = at_socket(&folder.path().join("server.sock")).await.start().await;

    carries_calls_and_streams(doorman, "localhost").await;
}

#[tokio::test]
async fn a_connection_over_tls_is_used_again() {
    let (builder, _) = trusting_it().await;
    let doorman = builder.workers(1).start().await;
    doorman.until_ready().await;
    let token = doorman.log_in().await.tokens.access;
    let before = doorman.upstream().connections();

    for _ in 0..5 {
        doorman.call(&token).await.assert_status(200);
    }

    assert_eq!(doorman.upstream().connections() - before, 1);
}

/// The log says where, and why; the client learns neither.
async fn is_refused(doorman: Doorman, host: &str, why: &str) {
    let token = doorman.log_in().await.tokens.access;

    let answer = doorman.call(&token).await;

    answer.assert_json_rpc_error(502);
    assert!(!answer.text().contains(host), "\n{answer}");
    let line = doorman.log().line_with("request not answered").await;
    assert!(line.contains(host) && line.contains(why), "{line}");
    doorman.upstream().assert_untouched();
}

/// RFC 9110 §4.3.4. Nothing is sent, and the process does not say that it is ready.
#[tokio::test]
async fn who_is_not_known_to_be_the_server_is_told_nothing() {
    let (authority, another) = (TlsAuthority::new(), TlsAuthority::new());
    let of_its_own = authority.signs("localhost");
    let cases = [
        (&of_its_own, &another, "", "UnknownIssuer"),
        (&authority.signs("other.example"), &authority, "", "not valid for name"),
        (&of_its_own, &authority, ", server_name: other.example", "not valid for name"),
        (&authority.signed_long_ago("localhost"), &authority, "", "expired"),
    ];
    for (signed, trusted, more, why) in cases {
        let server = FakeMcpServer::start().await;
        let (builder, address) = over_tls(server, signed, trusted, more).await;
        let doorman = builder.start().await;

        let line = doorman.log().line_with("waiting for the upstream").await;
        assert!(line.contains(&format!("https://{address}/mcp")) && line.contains(why), "{line}");
        doorman.health().send(Request::get("/readyz")).await.assert_status(503);
        is_refused(doorman, &format!("https://{address}/mcp"), why).await;
    }
}

/// A process that can't sign people in must not take the place of one that can.
#[test]
fn without_authorities_there_is_no_start_where_the_idp_is_reached_over_tls() {
    let wrapper = ["env", "-u", "SSL_CERT_DIR", "SSL_CERT_FILE=/dev/null"];

    for issuer in ["https://idp.example", "HTTPS://idp.example"] {
        let log = Program::refused(issuer, &wrapper);

        assert!(log.contains("can't start") && log.contains("set SSL_CERT_FILE"), "{log}");
    }
}

/// Those that the system names are believed where the operator names none. Only who calls somebody over TLS misses them.
#[tokio::test]
async fn the_systems_authorities_are_believed() {
    let authority = TlsAuthority::new();
    let folder = tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    for (authorities, status) in [(file.as_path(), 200), (Path::new("/dev/null"), 502)] {
        let server = FakeMcpServer::start().await;
        let signed = authority.signs("localhost");
        let port = server.also_over_tls(signed.acceptor(Clients::Anybody)).await;
        let url = format!("https://localhost:{port}/mcp");
        let variable = format!("SSL_CERT_FILE={}", authorities.display());
        let wrapper = ["env", "-u", "SSL_CERT_DIR", &variable];

        let mut program = Program::start_before(server, &url, LOCAL, &wrapper).await;
        program.read_log();
        program.line_with("the IdP answers").await;
        program.door().send(program.request()).await.assert_status(status);

        if status == 502 {
            let line = program.line_with("waiting for the upstream").await.to_string();
            assert!(line.contains("set SSL_CERT_FILE"), "{line}");
            program.upstream.assert_untouched();
        }
    }
}

/// The system's authorities are asked where none is named: they know nothing of ours.
#[tokio::test]
async fn an_authority_that_nobody_named_is_not_trusted() {
    let server = FakeMcpServer::start().await;
    let signed = TlsAuthority::new().signs("localhost");
    let port = server.also_over_tls(signed.acceptor(Clients::Anybody)).await;
    let url = format!("https://localhost:{port}/mcp");
    let builder = Doorman::in_front_of(server);
    let doorman = builder.reaching(RESOURCE, &format!("upstream: {url}"), &[]).start().await;

    is_refused(doorman, &url, "UnknownIssuer").await;
}

#[tokio::test]
async fn a_certificate_may_be_for_the_name_that_the_operator_says() {
    let authority = TlsAuthority::new();
    let server = FakeMcpServer::start().await;
    let more = ", server_name: mcp.internal";
    let (builder, address) =
        over_tls(server, &authority.signs("mcp.internal"), &authority, more).await;
    let doorman = builder.start().await;
    let token = doorman.log_in().await.tokens.access;

    doorman.call(&token).await.assert_status(200);

    assert_eq!(doorman.upstream().only_request().values("host"), [address.as_str()]);
}

/// Two resources at one server: what the one is let in by does not open for the other.
#[tokio::test]
async fn a_client_certificate_is_shown_for_its_own_resource_only() {
    let authority = TlsAuthority::new();
    let server = FakeMcpServer::start().await;
    let acceptor = authority.signs("localhost").acceptor(Clients::SignedBy(&authority));
    let port = server.also_over_tls(acceptor).await;
    let own = authority.signs("doorman.example");
    let files = [
        ("/ca.pem", authority.pem()),
        ("/own.pem", own.certificate_pem()),
        ("/own.key", own.key_pem()),
    ];
    let yaml = |more: &str| {
        format!("upstream: https://localhost:{port}/mcp, upstream_tls: {{ ca: /ca.pem{more} }}")
    };
    let shown = yaml(", client_certificate: /own.pem, client_key: { file: /own.key }");
    let doorman = Doorman::in_front_of(server.clone())
        .and_at(OTHER, &server)
        .reaching(RESOURCE, &shown, &files)
        .reaching(OTHER, &yaml(""), &files)
        .workers(1)
        .start()
        .await;
    let login = doorman.log_in().await;
    let authorization = Authorization::of(&login.client, &doorman.endpoint("/authorize"), OTHER);
    let granted = doorman.complete(&login.browser, &authorization).await;
    let form = code_form(&login.client, &granted, OTHER);
    let other_token = doorman.token(&form).await.tokens().access;

    doorman.call(&login.tokens.access).await.assert_status(200);
    let other = mcp_request(OTHER).bearer(&other_token);
    doorman.send(other).await.assert_json_rpc_error(502);

    let line = doorman.log().line_with("request not answered").await;
    assert!(line.contains(&format!("https://localhost:{port}/mcp")), "{line}");
    assert!(line.contains("CertificateRequired"), "{line}");
    assert_eq!(server.received().len(), 1);
}

/// The deadline for connecting is one for the handshake too.
#[tokio::test]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", silent.local_addr().unwrap());
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .reaching(RESOURCE, &format!("upstream: {url}"), &[])
        .start()
        .await;

    soon("an answer", is_refused(doorman, &url, "timed out")).await;
}

/// Fault 13: a thousand callers would hold a thousand sockets.
#[tokio::test]
async fn a_server_that_let_one_caller_wait_is_not_waited_for_by_all() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", silent.local_addr().unwrap());
    let deadlines = "upstream_deadlines: { connect: 500ms }";
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .reaching(RESOURCE, &format!("upstream: {url}, {deadlines}"), &[])
        .start()
        .await;
    let token = doorman.log_in().await.tokens.access;
    doorman.call(&token).await.assert_json_rpc_error(502);

    for _ in 0..20 {
        doorman.call(&token).await.assert_json_rpc_error(502);
    }

    let faults: Vec<_> =
        doorman.log().lines().iter().map(|line| line["fault"].to_string()).collect();
    let count = |what| faults.iter().filter(|fault| fault.starts_with(what)).count();
    let waited = count("\"can't connect: timed out after 500 ms");
    let spared = count("\"can't connect: it let the last one who tried wait in vain");
    assert_eq!(waited + spared, 21, "{faults:?}");
    assert!(spared > waited, "{waited} waited");
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_waited_for() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("server.sock");
    let doorman = reaching_socket(FakeMcpServer::start().await, &socket).start().await;
    let named = format!("unix:{}:/mcp", socket.display());

    let line = doorman.log().line_with("waiting for the upstream").await;
    assert!(line.contains(&named) && line.contains("No such file"), "{line}");
    doorman.health().send(Request::get("/readyz")).await.assert_status(503);
    let token = doorman.log_in().await.tokens.access;
    doorman.call(&token).await.assert_json_rpc_error(502);
    let line = doorman.log().line_with("request not answered").await;
    assert!(line.contains(&named) && line.contains("No such file"), "{line}");

    doorman.upstream().also_at(&socket);
    doorman.until_ready().await;
    doorman.call(&token).await.assert_status(200);
}

/// Fault 13 of the design: to take every replica away would not bring the server back.
#[tokio::test]
async fn who_was_ready_stays_so_when_the_server_goes() {
    let folder = tempdir().unwrap();
    let socket = folder.path().join("server.sock");
    let server = FakeMcpServer::start().await;
    server.also_at(&socket);
    let doorman = reaching_socket(server, &socket).start().await;
    doorman.until_ready().await;
    let token = doorman.log_in().await.tokens.access;

    fs::remove_file(&socket).unwrap();

    doorman.call(&token).await.assert_json_rpc_error(502);
    doorman.health().send(Request::get("/readyz")).await.assert_status(200);
}

/// What the server wants of us is not for callers to say, in whichever spelling, and nobody is told of it.
#[tokio::test]
async fn a_header_that_the_server_wants_is_ours() {
    let server = FakeMcpServer::start().await;
    let yaml = format!(
        "upstream: \"{}\", upstream_headers: [
            {{ name: X-Api-Key, value: {{ file: /key }} }},
            {{ name: Authorization, value: {{ insecure_inline: Basic s3cr3t }} }}]",
        server.url("/mcp")
    );
    let files = [("/key", "the-k3y\n".to_owned())];
    let doorman = Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &files).start().await;
    let token = doorman.log_in().await.tokens.access;

    let request = doorman.request(&token).header("x-api-key", "forged");
    let request = request.header("x_api_key", "forged").header("x-api-key-2", "theirs");
    let answer = doorman.send(request).await;

    answer.assert_status(200);
    let received = doorman.upstream().only_request();
    assert_eq!(received.values("x-api-key"), ["the-k3y"]);
    assert_eq!(received.values("authorization"), ["Basic s3cr3t"]);
    assert_eq!(received.values("x-api-key-2"), ["theirs"]);
    assert!(!received.text().contains("forged"), "{}", received.text());
    assert!(!received.text().contains(&token));
    let told = doorman.log().text() + &format!("{:?}", answer.headers);
    for secret in ["the-k3y", "s3cr3t"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

/// Tools that answer plain JSON after minutes need more than is usual; who watches over them may want less.
#[tokio::test]
async fn a_server_has_as_long_as_the_operator_says() {
    let server = FakeMcpServer::start().await;
    server.never_answers();
    let yaml =
        format!("upstream: {}, upstream_deadlines: {{ first_byte: 1s }}", server.url("/mcp"));
    let doorman = Doorman::in_front_of(server).reaching(RESOURCE, &yaml, &[]).start().await;
    let token = doorman.log_in().await.tokens.access;

    let answer = soon("an answer", doorman.call(&token)).await;

    answer.assert_json_rpc_error(504);
    let line = doorman.log().line_with("request not answered").await;
    assert!(line.contains("no answer within 1 s"), "{line}");
    doorman.upstream().hang_up().await;
}

#[tokio::test]
async fn a_connection_has_as_long_as_the_operator_says() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/mcp", silent.local_addr().unwrap());
    let yaml = format!("upstream: {url}, upstream_deadlines: {{ connect: 100ms }}");
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await)
        .reaching(RESOURCE, &yaml, &[])
        .start()
        .await;
    let token = doorman.log_in().await.tokens.access;
    let begun = Instant::now();

    doorman.call(&token).await.assert_json_rpc_error(502);

    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "it waited for longer: {:?}",
        begun.elapsed()
    );
}
