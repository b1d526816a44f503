//! Answers obey the grant that they are given by: how long they outlive it, and their access token.

use std::time::{Duration, Instant};

use crate::support::doorman::{Doorman, HOUR, Login, MINUTE};
use crate::support::exchange::{Answering, Request};
use crate::support::fake_mcp_server::{FakeMcpServer, Feed};

/// A stream of the MCP server's, from both ends.
struct Stream {
    feed: Feed,
    client: Answering,
}

impl Stream {
    /// Open, and silent from now on.
    async fn open(doorman: &Doorman, request: Request, feed: Feed) -> Self {
        let mut client = doorman.door().open(request).await;
        doorman.upstream().arrival().await;
        assert_eq!(client.status, 200);
        feed.bytes("hello");
        client.until("hello").await;
        Self { feed, client }
    }

    /// The stream to a GET, before MCP 2026-07-28.
    async fn get(doorman: &Doorman, login: &Login) -> Self {
        let feed = doorman.upstream().streams_events();
        let get = Request::get("/mcp").header("accept", "text/event-stream");
        Self::open(doorman, get.bearer(&login.tokens.access), feed).await
    }

    /// The same, since.
    async fn subscription(doorman: &Doorman, login: &Login) -> Self {
        let feed = doorman.upstream().streams_events();
        let request = doorman.request(&login.tokens.access);
        Self::open(doorman, request.header("mcp-method", "subscriptions/listen"), feed).await
    }

    /// The answer to a call, as events.
    async fn call(doorman: &Doorman, login: &Login) -> Self {
        let feed = doorman.upstream().streams_events();
        Self::open(doorman, doorman.request(&login.tokens.access), feed).await
    }

    /// The answer to a call, as JSON.
    async fn json_call(doorman: &Doorman, login: &Login) -> Self {
        let feed = doorman.upstream().answers_later();
        Self::open(doorman, doorman.request(&login.tokens.access), feed).await
    }

    async fn assert_goes_on(&mut self) {
        self.feed.bytes("more");
        assert_eq!(self.client.until("more").await, "more");
    }

    /// Its client sees that it is not whole, its upstream that nobody waits any more.
    async fn assert_cut(mut self, doorman: &Doorman) {
        let end = self.client.next_bytes().await;
        assert!(end.is_some_and(|end| end.is_err()), "it looks complete");
        doorman.upstream().hang_up().await;
    }

    async fn assert_ended(mut self, doorman: &Doorman) {
        let end = self.client.next_bytes().await;
        assert!(end.is_none(), "not a proper end: {end:?}");
        doorman.upstream().hang_up().await;
    }
}

/// With one worker, so that what is cut shows that all were looked over.
async fn doorman() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).workers(1).start().await
}

/// Return when all answers were looked over at this time: another login's has been cut.
async fn look_over(doorman: &Doorman) {
    let witness = doorman.log_in().await;
    let stream = Stream::get(doorman, &witness).await;
    doorman.revoke(&witness.client, &witness.tokens.refresh).await.assert_status(200);
    stream.assert_cut(doorman).await;
}

#[tokio::test]
async fn what_a_grant_allowed_is_cut_when_it_ends() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let (login, other) = (doorman.log_in().await, doorman.log_in().await);
    // On both workers.
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(Stream::get(&doorman, &login).await);
        streams.push(Stream::subscription(&doorman, &login).await);
        streams.push(Stream::call(&doorman, &login).await);
        streams.push(Stream::json_call(&doorman, &login).await);
    }
    let mut others = Stream::get(&doorman, &other).await;
    assert_eq!(doorman.open_answers(), 9);

    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    let begun = Instant::now();
    for stream in streams {
        stream.assert_cut(&doorman).await;
    }
    assert!(begun.elapsed() < 5 * SECOND, "it took {:?}", begun.elapsed());
    others.assert_goes_on().await;
    doorman.until_open_answers(1).await;
    others.feed.end();
    assert!(others.client.next_bytes().await.is_none());
    doorman.until_open_answers(0).await;
}

/// An answer in JSON begins when the call is done.
#[tokio::test]
async fn a_call_that_is_not_answered_yet_is_cut_when_its_grant_ends() {
    let doorman = doorman().await;
    let login = doorman.log_in().await;
    doorman.upstream().never_answers();
    let (door, request) = (doorman.door(), doorman.request(&login.tokens.access));
    let call = tokio::spawn(async move { door.send(request).await });
    doorman.upstream().arrival().await;
    assert_eq!(doorman.open_answers(), 1);

    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    doorman.upstream().hang_up().await;
    let answer = call.await.unwrap();
    // Not 401: a client that is sent to log in would then call again, and the call may have been done.
    answer.assert_json_rpc_error(403);
    assert!(!answer.headers.contains_key("www-authenticate"), "\n{answer}");
    doorman.until_open_answers(0).await;
}

#[tokio::test]
async fn a_stream_that_listens_ends_a_minute_after_its_token() {
    let doorman = doorman().await;
    let login = doorman.log_in().await;
    let mut get = Stream::get(&doorman, &login).await;
    let mut subscription = Stream::subscription(&doorman, &login).await;

    doorman.later(HOUR + 59 * SECOND);
    look_over(&doorman).await;
    get.assert_goes_on().await;
    subscription.assert_goes_on().await;
    doorman.later(SECOND);

    get.assert_ended(&doorman).await;
    subscription.assert_ended(&doorman).await;
    doorman.until_open_answers(0).await;
}

#[tokio::test]
async fn a_call_that_is_running_has_ten_minutes_more() {
    let doorman = doorman().await;
    let login = doorman.log_in().await;
    let mut events = Stream::call(&doorman, &login).await;
    let mut json = Stream::json_call(&doorman, &login).await;

    doorman.later(HOUR + 10 * MINUTE + 59 * SECOND);
    look_over(&doorman).await;
    events.assert_goes_on().await;
    json.assert_goes_on().await;
    doorman.later(SECOND);

    events.assert_cut(&doorman).await;
    json.assert_cut(&doorman).await;
    doorman.until_open_answers(0).await;
}

/// A GET that is answered with something else, such as a file, is no stream that can be opened anew.
#[tokio::test]
async fn an_answer_that_is_no_stream_of_events_is_a_call_that_is_running() {
    let doorman = doorman().await;
    let login = doorman.log_in().await;
    let feed = doorman.upstream().answers_later();
    let get = Request::get("/mcp").bearer(&login.tokens.access);
    let mut file = Stream::open(&doorman, get, feed).await;

    doorman.later(HOUR + 2 * MINUTE);
    look_over(&doorman).await;

    file.assert_goes_on().await;
}

#[tokio::test]
async fn what_was_asked_for_with_the_next_token_goes_on() {
    let doorman = doorman().await;
    let mut login = doorman.log_in().await;
    let old = Stream::get(&doorman, &login).await;
    doorman.later(HOUR);
    login.tokens = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    let mut new = Stream::get(&doorman, &login).await;

    doorman.later(2 * MINUTE);

    old.assert_ended(&doorman).await;
    look_over(&doorman).await;
    new.assert_goes_on().await;
    doorman.call(&login.tokens.access).await.assert_status(200);
}

/// What is not there can't be ended, and must not be kept.
#[tokio::test]
async fn an_answer_that_is_over_is_not_kept() {
    let doorman = doorman().await;
    let login = doorman.log_in().await;

    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.upstream().answers(202, &[], "");
    doorman.call(&login.tokens.access).await.assert_status(202);
    doorman.upstream().answers(200, &[], "text");
    let whole = Stream::call(&doorman, &login).await;
    whole.feed.end();
    assert!(whole.client.whole().await.text().is_empty());
    Stream::call(&doorman, &login).await.client.hang_up();

    doorman.until_open_answers(0).await;
}

const SECOND: Duration = Duration::from_secs(1);
