//! What an upstream may do wrong on the wire: the client gets a whole answer, is told that there is none, or sees
//! it break off. No request is sent twice, and no answer reaches another request.

use crate::support::doorman::Doorman;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::raw_mcp_server::RawMcpServer;
use crate::support::raw_mcp_server::Step::{
    self, Close, Head, Request, Reset, Rest, Say, UntilToldTo,
};

/// A doorman before `server`, and a token.
async fn before(server: &RawMcpServer) -> (Doorman, String) {
    // One worker has all its connections.
    let upstream = FakeMcpServer::in_place_of(server);
    let doorman = Doorman::in_front_of(upstream).workers(1).start().await;
    let token = doorman.log_in().await.tokens.access;
    (doorman, token)
}

fn ok(body: &str) -> Step {
    say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn say(text: &str) -> Step {
    Say(text.as_bytes().to_vec())
}

/// R7 of the design. The client can't know what has happened, so nothing is tried again.
#[tokio::test]
async fn what_is_no_answer_is_a_502_and_is_not_asked_for_again() {
    let many_interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17);
    let long_head = format!("HTTP/1.1 200 OK\r\nA: {}\r\n", "x".repeat(80 * 1024));
    let cases = [
        vec![Request, Close],
        vec![Request, Reset],
        vec![Head, Close],
        vec![Request, say("HTTP/1.1 200 OK\r\nContent-Le"), Close],
        vec![Request, say("HTTP/1.1 200 OK\r\nContent-Le"), Reset],
        vec![Request, say("HTTP/1.1 100 Continue\r\n\r\n"), Close],
        vec![Request, say(&many_interim)],
        vec![Request, say(&long_head)],
        vec![Request, say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")],
        vec![Request, say("HTTP/2.0 200 OK\r\n\r\n")],
        vec![Request, say("\r\n\r\n")],
        vec![Request, say("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
        vec![Request, say("220 mail.example.com ESMTP\r\n")],
        vec![Request, say("HTTP/1.1 200 OK\r\nA: b\n\r\n")],
        vec![Request, say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")],
        vec![
            Request,
            say(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
        ],
        vec![Request, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")],
    ];
    for case in cases {
        let server = RawMcpServer::start([case.clone()]).await;
        let (doorman, token) = before(&server).await;

        let answer = doorman.call(&token).await;

        answer.assert_json_rpc_error(502);
        assert_eq!(server.requests(), 1, "{case:?}");
        assert!(doorman.log().text().contains("no whole answer"), "{case:?}");
    }
}

/// RFC 9110 §15.2: a proxy may drop what its client can't use.
#[tokio::test]
async fn interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let server = RawMcpServer::start([vec![Request, say(interim), ok("whole")]]).await;
    let (doorman, token) = before(&server).await;

    let answer = doorman.call(&token).await;

    assert_eq!(answer.assert_status(200).text(), "whole");
    assert!(!answer.headers.contains_key("link"));
}

/// RFC 9112 §8: what has begun and has no proper end must not look as if it had one.
#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let cases = [
        ("Content-Length: 9", "begun", Close),
        ("Content-Length: 9", "begun", Reset),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n", Close),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n", Reset),
        ("Transfer-Encoding: chunked", "9\r\nbegun", Close),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n0\r\n", Close),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\nx\r\n", Rest),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n1\nx\r\n0\r\n\r\n", Rest),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n1\r\nxx\r\n0\r\n\r\n", Rest),
        ("Connection: close", "begun", Reset),
    ];
    for (framing, body, then) in cases {
        let head = say(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        // In a piece of its own, so that the client has the head.
        let server = RawMcpServer::start([vec![Request, head, UntilToldTo, say(body), then]]).await;
        let (doorman, token) = before(&server).await;

        let mut answer = doorman.door().open(doorman.request(&token)).await;
        assert_eq!(answer.status, 200);
        server.go_on();

        let end = loop {
            match answer.next_bytes().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_some_and(|end| end.is_err()), "it looks whole: {framing} {body:?}");
        assert!(doorman.log().text().contains("answer broke off"), "{framing} {body:?}");
    }
}

/// RFC 9112 §6.3: by its length, by the last chunk, by closing.
#[tokio::test]
async fn an_answer_ends_in_one_of_three_ways() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwh\r\n3;x=y\r\nole\r\n0\r\nT: v\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nwhole",
        "HTTP/1.0 200 OK\r\n\r\nwhole",
    ] {
        let server = RawMcpServer::answering_once(text).await;
        let (doorman, token) = before(&server).await;

        let answer = doorman.call(&token).await;

        assert_eq!(answer.assert_status(200).text(), "whole", "{text:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_has_none() {
    for (status, expected) in [("204 No Content", 204), ("304 Not Modified", 304)] {
        let text = format!("HTTP/1.1 {status}\r\n\r\n");
        let server = RawMcpServer::answering(text).await;
        let (doorman, token) = before(&server).await;

        for _ in 0..2 {
            assert_eq!(doorman.call(&token).await.assert_status(expected).text(), "");
        }

        assert_eq!(server.received().len(), 1, "they share a connection");
    }
}

/// What follows an answer belongs to nobody, least of all to the next request, which may be another person's.
#[tokio::test]
async fn what_follows_an_answer_reaches_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n";
    for answer in [ok("good"), say(chunked), say("HTTP/1.1 204 No Content\r\n\r\n")] {
        let Say(mut together) = answer.clone() else { unreachable!() };
        together.extend_from_slice(evil.as_bytes());
        for script in [
            vec![Request, Say(together), Rest],
            vec![Request, answer.clone(), UntilToldTo, say(evil), Rest],
        ] {
            let usual = vec![Request, ok("other"), Request, ok("other")];
            let server = RawMcpServer::start([script, usual]).await;
            let (doorman, token) = before(&server).await;

            assert!(doorman.call(&token).await.status.is_success());
            server.go_on();
            server.end().await;

            assert_eq!(doorman.call(&token).await.assert_status(200).text(), "other");
        }
    }
}

/// A request must not be lost because an idle connection was closed, and not be sent twice to save it.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    for end in [Close, Reset] {
        let server =
            RawMcpServer::start([vec![Request, ok("first"), end], vec![Request, ok("second")]])
                .await;
        let (doorman, token) = before(&server).await;

        assert_eq!(doorman.call(&token).await.assert_status(200).text(), "first");
        server.end().await;
        assert_eq!(doorman.call(&token).await.assert_status(200).text(), "second");
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    for end in [Close, Reset] {
        let server = RawMcpServer::start([
            vec![Request, ok("first"), Request, end],
            vec![Request, ok("second")],
        ])
        .await;
        let (doorman, token) = before(&server).await;

        assert_eq!(doorman.call(&token).await.assert_status(200).text(), "first");
        doorman.call(&token).await.assert_json_rpc_error(502);

        assert_eq!(server.requests(), 2);
        assert_eq!(doorman.call(&token).await.assert_status(200).text(), "second");
    }
}

/// RFC 9112 §9.3, and `Keep-Alive: timeout` as servers use it: not up to the last second.
#[tokio::test]
async fn a_connection_is_used_again_as_far_as_its_upstream_says() {
    for (field, connections) in [
        ("X-Any: thing", 1),
        ("Connection: keep-alive", 1),
        ("Keep-Alive: timeout=5", 1),
        ("Keep-Alive: timeout=1", 2),
        ("Connection: close", 2),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\nok");
        let server = RawMcpServer::answering(answer).await;
        let (doorman, token) = before(&server).await;

        for _ in 0..2 {
            doorman.call(&token).await.assert_status(200);
        }

        assert_eq!(server.received().len(), connections, "{field}");
    }
}

/// RFC 9112 §9.3: an answer may come before the request is whole, and says why.
#[tokio::test]
async fn an_early_answer_reaches_the_client() {
    let refused =
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large";
    let server = RawMcpServer::start([vec![Head, say(refused), Rest]]).await;
    let (doorman, token) = before(&server).await;
    // Less than our own limit, and more than the server reads.
    let body = vec![b'x'; 4 * 1024 * 1024];

    let answer = doorman.send(doorman.request(&token).body(body)).await;

    assert_eq!(answer.assert_status(413).text(), "too large");
}

/// RFC 9112 §6: a length that we know is told, never both.
#[tokio::test]
async fn a_request_is_framed_in_one_way() {
    let server = RawMcpServer::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (doorman, token) = before(&server).await;

    doorman.send(doorman.request(&token).body("12345")).await.assert_status(204);
    doorman.send(doorman.request(&token).body("")).await.assert_status(204);
    let get = crate::support::exchange::Request::get("/mcp").bearer(&token);
    doorman.send(get).await.assert_status(204);

    let [received] = server.received().try_into().unwrap();
    let heads: Vec<&str> = received.split_inclusive("\r\n\r\n").collect();
    let lengths = heads.iter().map(|head| {
        assert!(!head.contains("transfer-encoding"), "{head}");
        head.split("content-length: ").skip(1).map(|rest| rest.split("\r\n").next().unwrap())
    });
    let lengths: Vec<Vec<&str>> = lengths.map(Iterator::collect).collect();
    assert_eq!(lengths, [vec!["5"], vec!["0"], vec![]]);
    assert!(received.contains("\r\n\r\n12345POST "), "{received}");
}

/// Threat F13. The name that a server is asked by is none that its clients can reach.
#[tokio::test]
async fn a_redirect_leads_within_the_resource() {
    let to = |location: &str| {
        format!("HTTP/1.1 307 To\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    for (location, is_own) in [
        ("http://127.0.0.1:1/mcp/?again=1", false),
        ("https://evil.example/mcp/", false),
        ("/login?token=doorman-secret", false),
        ("/mcp/?again=1", true),
    ] {
        let server = RawMcpServer::answering_once(to(location)).await;
        let (doorman, token) = before(&server).await;

        let answer = doorman.call(&token).await;

        if is_own {
            answer.assert_status(307);
            assert_eq!(answer.header("location"), format!("{}/?again=1", doorman.resource()));
        } else {
            answer.assert_json_rpc_error(502);
            assert!(doorman.log().text().contains("its Location leads out of the resource"));
            assert!(!doorman.log().text().contains("doorman-secret"));
        }
    }
}
