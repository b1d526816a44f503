//! `Mcp-Session-Id`: what the upstream gives out belongs to whoever it was given to (MCP 2025-11-25 "Session
//! Hijacking").

use http::Method;
use mcp_doorman::policy::AccessEntry;
use serde_json::json;

use crate::support::access_token::{IDP_KEY, of, of_alice, set_of, start};
use crate::support::doorman::{Doorman, Login, ORIGIN, code_form, mcp_request};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::FakeMcpServer;

/// As the upstream knows it.
const OWN: &str = "0f3c-canary-session";
const OTHER: &str = "https://tools.example.com/other";
const SECRET: &str = "canary-machine-secret-0123456789";

/// Answers each request with the id of the one session that it has.
async fn upstream() -> FakeMcpServer {
    let server = FakeMcpServer::start().await;
    gives_out(&server, OWN);
    server
}

fn gives_out(server: &FakeMcpServer, id: &str) {
    server.answers(200, &[("content-type", "application/json"), ("mcp-session-id", id)], "{}");
}

fn bob() -> Person {
    Person { sub: "bob-11c2", email: "bob@example.com", ..Person::alice() }
}

/// Begin a session, and return its id.
async fn begin(doorman: &Doorman, token: &str) -> String {
    doorman.call(token).await.assert_status(200).header("mcp-session-id").to_owned()
}

async fn call_in(doorman: &Doorman, token: &str, session: &str) -> Exchange {
    doorman.send(doorman.request(token).header("mcp-session-id", session)).await
}

/// What the upstream was told of the session in the last request.
fn told(server: &FakeMcpServer) -> Vec<String> {
    let last = server.received().pop().unwrap();
    last.values("mcp-session-id").into_iter().map(str::to_owned).collect()
}

/// MCP 2025-11-25 "Session Management" 3: 404 has clients begin anew.
#[track_caller]
fn assert_refused(answer: &Exchange) {
    answer.assert_json_rpc_error(404);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["error"]["code"], -32001);
    assert!(!answer.headers.contains_key("mcp-session-id"), "\n{answer}");
}

/// G5
#[tokio::test]
async fn another_persons_session_is_not_found() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let alice = doorman.log_in().await.tokens.access;
    doorman.idp().sign_in(bob());
    let bob = doorman.log_in().await.tokens.access;
    let session = begin(&doorman, &alice).await;
    let before = doorman.upstream().received().len();

    let answer = call_in(&doorman, &bob, &session).await;

    assert_refused(&answer);
    assert_eq!(doorman.upstream().received().len(), before, "it reached the MCP server");
    assert!(!session.contains(OWN) && !answer.text().contains(OWN));
    let log = doorman.log().text();
    assert!(log.contains("it was given to another caller"), "{log}");
    assert!(!log.contains(OWN) && !log.contains(&session), "the log tells ids");
    call_in(&doorman, &alice, &session).await.assert_status(200);
    assert_eq!(told(doorman.upstream()), [OWN]);
}

/// Clients compare what they are answered with what they sent.
#[tokio::test]
async fn an_id_that_is_repeated_is_the_same_text() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let session = begin(&doorman, &token).await;

    assert_eq!(call_in(&doorman, &token, &session).await.header("mcp-session-id"), session);

    gives_out(doorman.upstream(), "another");
    let answer = call_in(&doorman, &token, &session).await;
    let other = answer.header("mcp-session-id");
    assert_ne!(other, session);
    call_in(&doorman, &token, other).await.assert_status(200);
    assert_eq!(told(doorman.upstream()), ["another"]);
}

/// The person counts, not the client that they use, nor the login.
#[tokio::test]
async fn the_same_person_goes_on_with_another_client() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let session = begin(&doorman, &doorman.log_in().await.tokens.access).await;
    doorman.idp().sign_in(Person { groups: json!(["others"]), ..Person::alice() });
    let again = doorman.log_in().await.tokens.access;

    call_in(&doorman, &again, &session).await.assert_status(200);

    assert_eq!(told(doorman.upstream()), [OWN]);
}

async fn log_in_at_other(doorman: &Doorman) -> Login {
    let (client, browser) = (doorman.register().await, doorman.browser());
    let authorization = doorman.authorization(&client).with("resource", OTHER);
    let granted = doorman.complete(&browser, &authorization).await;
    let tokens = doorman.token(&code_form(&client, &granted, OTHER)).await.tokens();
    Login { client, browser, tokens }
}

#[tokio::test]
async fn a_session_is_good_at_one_resource() {
    let other = upstream().await;
    let doorman = Doorman::in_front_of(upstream().await).and_at(OTHER, &other).start().await;
    let here = doorman.log_in().await.tokens.access;
    let there = log_in_at_other(&doorman).await.tokens.access;
    let session = begin(&doorman, &here).await;

    let request = mcp_request(OTHER).bearer(&there);
    let answer = doorman.send(request.header("mcp-session-id", &session)).await;

    assert_refused(&answer);
    other.assert_untouched();
}

#[tokio::test]
async fn what_was_not_given_out_is_not_found() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let session = begin(&doorman, &token).await;
    let before = doorman.upstream().received().len();
    let mut seen = 0;

    for made_up in [OWN, "", "doorman_si_", &session[..40], &format!("{session}x"), &token] {
        assert_refused(&call_in(&doorman, &token, made_up).await);
        seen += 1;
    }
    let request = doorman.request(&token).header("mcp-session-id", &session);
    let twice = doorman.send(request.header("mcp-session-id", &session)).await;
    twice.assert_json_rpc_error(400);

    assert_eq!(seen, 6);
    assert_eq!(doorman.upstream().received().len(), before, "it reached the MCP server");
}

/// An upstream may read `_` and `-` alike, as CGI does.
#[tokio::test]
async fn a_session_is_not_smuggled_in_under_another_name() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let token = doorman.log_in().await.tokens.access;

    for name in ["mcp_session_id", "mcp-session_id", "Mcp_Session-Id"] {
        doorman.send(doorman.request(&token).header(name, OWN)).await.assert_json_rpc_error(400);
    }
    doorman.upstream().assert_untouched();
}

#[tokio::test]
async fn a_session_goes_on_at_every_replica_and_after_a_restart() {
    let one = Doorman::in_front_of(upstream().await).start().await;
    let other = Doorman::in_front_of(one.upstream().clone()).beside(&one).start().await;
    let token = one.log_in().await.tokens.access;
    let session = begin(&one, &token).await;

    assert_eq!(call_in(&other, &token, &session).await.header("mcp-session-id"), session);
    let one = one.restarted().await;
    assert_eq!(call_in(&one, &token, &session).await.header("mcp-session-id"), session);
    assert_eq!(told(one.upstream()), [OWN]);
}

#[tokio::test]
async fn a_session_is_ended_and_listened_to_by_its_owner() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let alice = doorman.log_in().await.tokens.access;
    doorman.idp().sign_in(bob());
    let bob = doorman.log_in().await.tokens.access;
    let session = begin(&doorman, &alice).await;
    let mut seen = 0;

    for method in [Method::GET, Method::DELETE] {
        let send = async |token: &str| {
            let request = crate::support::exchange::Request::new(method.clone(), "/mcp");
            doorman.send(request.bearer(token).header("mcp-session-id", &session)).await
        };
        assert_refused(&send(&bob).await);
        send(&alice).await.assert_status(200);
        let last = doorman.upstream().received().pop().unwrap();
        assert_eq!((&last.method, last.values("mcp-session-id")), (&method, vec![OWN]));
        seen += 1;
    }
    assert_eq!(seen, 2);
    assert_eq!(doorman.upstream().received().len(), 3);
}

#[tokio::test]
async fn a_session_ends_with_the_key_that_it_was_sealed_with() {
    let old = Doorman::in_front_of(upstream().await).sealed_with(&["old"]).start().await;
    let session = begin(&old, &old.log_in().await.tokens.access).await;
    let beside =
        |keys: &[&str]| Doorman::in_front_of(old.upstream().clone()).beside(&old).sealed_with(keys);
    let (rotating, rotated) =
        (beside(&["new", "old"]).start().await, beside(&["new"]).start().await);
    let token = rotating.log_in().await.tokens.access;

    assert_eq!(call_in(&rotating, &token, &session).await.header("mcp-session-id"), session);

    assert_refused(&call_in(&rotated, &token, &session).await);
    begin(&rotated, &token).await;
}

/// RFC 9700 §4.15: called alike, and three callers.
#[tokio::test]
async fn nobody_has_the_session_of_a_namesake_of_another_kind() {
    let name = Person::alice().sub;
    let accounts = format!(
        "  []\nservice_accounts:\n- {{ id: {name}, secret: {{ insecure_inline: {SECRET} }} }}\n"
    );
    let machine = AccessEntry { clients: vec![name.to_owned()], ..AccessEntry::default() };
    let person = AccessEntry { subjects: vec![name.to_owned()], ..AccessEntry::default() };
    let builder = Doorman::in_front_of(upstream().await)
        .declaring(&accounts, &json!({ "keys": [] }))
        .machines(ORIGIN, &[name])
        .access(&[machine])
        .keys_of_the_idp(set_of(&[&IDP_KEY]));
    let for_machines = builder.start().await;
    let server = for_machines.upstream().clone();
    let beside = Doorman::in_front_of(server.clone()).beside(&for_machines);
    let for_people = start(beside.access(&[person])).await;
    let idp = for_people.idp();
    let form =
        [("grant_type", "client_credentials"), ("client_id", name), ("client_secret", SECRET)];
    let issued = for_machines.token(&form).await;
    let of_account = issued.json()["access_token"].as_str().unwrap().to_owned();
    let of_machine = of(idp, name, for_people.now())
        .claim("client_id", name)
        .claim("aud", ORIGIN)
        .without_claim("groups")
        .signed_by(&IDP_KEY);
    let of_person = of_alice(&for_people).signed_by(&IDP_KEY);
    let callers =
        [(&for_people, of_person), (&for_machines, of_account), (&for_machines, of_machine)];
    let mut users = Vec::new();

    for (at, (doorman, owner)) in callers.iter().enumerate() {
        let session = begin(doorman, owner).await;
        let last = server.received().pop().unwrap();
        users.push(last.values("x-forwarded-user").concat());
        for (other_at, (doorman, other)) in callers.iter().enumerate() {
            let answer = call_in(doorman, other, &session).await;
            if other_at == at {
                answer.assert_status(200);
            } else {
                assert_refused(&answer);
            }
        }
    }
    let [person, account, machine] =
        [name.to_owned(), format!("service-account,{name}"), format!("machine,{name}")];
    assert_eq!(users, [person, account, machine]);
}

/// MCP 2025-11-25 "Session Management" 1
#[tokio::test]
async fn what_is_no_id_is_given_to_nobody() {
    let doorman = Doorman::in_front_of(upstream().await).start().await;
    let token = doorman.log_in().await.tokens.access;
    let long = "x".repeat(2049);
    let mut seen = 0;

    for id in ["two words", "caf\u{e9}", &long] {
        gives_out(doorman.upstream(), id);
        let answer = doorman.call(&token).await;
        answer.assert_json_rpc_error(502);
        assert!(!answer.headers.contains_key("mcp-session-id"), "\n{answer}");
        seen += 1;
    }
    let twice = [("mcp-session-id", "one"), ("mcp-session-id", "two")];
    doorman.upstream().answers(200, &twice, "{}");
    doorman.call(&token).await.assert_json_rpc_error(502);
    assert_eq!(seen, 3);
    let told = "its Mcp-Session-Id is not one of at most 2048 characters";
    assert_eq!(doorman.log().text().matches(told).count(), 4);

    gives_out(doorman.upstream(), "");
    let without = doorman.call(&token).await;
    assert!(!without.assert_status(200).headers.contains_key("mcp-session-id"), "\n{without}");
    gives_out(doorman.upstream(), &long[1..]);
    let session = begin(&doorman, &token).await;
    call_in(&doorman, &token, &session).await.assert_status(200);
}
