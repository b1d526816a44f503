//! When answers end, and how, over in-memory lists and grants.

use super::*;
use crate::grants::Grants;
use crate::grants::set_up::{GRANT, SetUp};
use crate::store::Cursor;

const OTHER: GrantId = GrantId::new([8; 16]);
const HOUR: Duration = Duration::from_hours(1);

fn worker(grants: &Grants, clock: &Clock) -> WorkerStreams {
    let settings =
        StreamSettings { listening_grace: HOUR, running_grace: HOUR, comment_every: None };
    Arc::new(Streams::new(settings, grants.revocations(), clock.clone())).of_worker()
}

/// What waits is woken by it.
#[tokio::test]
async fn answers_of_a_grant_that_another_replica_ended_are_cut() {
    let SetUp { grants: here, clock, .. } = SetUp::with_code(None).await;
    let (there, clock) = (here.replica(), Clock::Manual(clock));
    let streams = worker(&there, &clock);
    let until = clock.now().after(HOUR);
    let lease = |grant: GrantId| Lease {
        grant: grant.bytes(),
        issued: Timestamp::from_seconds(0),
        until,
        then: End::Cut,
    };
    let cut = streams.open.await_answer(lease(GRANT));
    let other = streams.open.await_answer(lease(OTHER));

    here.end(GRANT).await.unwrap();
    streams.sweep();
    let before = tokio::select! { biased; () = cut.ended() => true, () = async {} => false };
    there.follow_endings(Cursor::START).await.unwrap();
    streams.sweep();

    assert!(!before, "it was not known yet");
    let is_cut = tokio::select! { biased; () = cut.ended() => true, () = async {} => false };
    let is_other = tokio::select! { biased; () = other.ended() => true, () = async {} => false };
    assert_eq!((is_cut, is_other), (true, false));
}

/// Clients open them anew, elsewhere: all at the same moment, if they ended so.
#[tokio::test]
async fn streams_that_listen_end_one_after_the_other_when_we_stop() {
    let SetUp { grants, clock, .. } = SetUp::with_code(None).await;
    let streams = worker(&grants, &Clock::Manual(clock));
    let lease = |then| Lease {
        grant: GRANT.bytes(),
        issued: Timestamp::from_seconds(0),
        until: Timestamp::from_seconds(u64::MAX),
        then,
    };
    let listening: Vec<_> = (0..12).map(|_| streams.open.await_answer(lease(End::Clean))).collect();
    let call = streams.open.await_answer(lease(End::Cut));
    let left = || {
        let mut left = 0;
        streams.open.each(|lease| left += usize::from(lease.then == End::Clean));
        left
    };

    streams.all.finish(Duration::from_secs(25));
    // As long as somebody waits for the answer to a call, there is time.
    let before: Vec<usize> = (0..10)
        .map(|_| {
            streams.sweep();
            left()
        })
        .collect();
    drop(call);
    let after: Vec<usize> = (0..5)
        .map(|_| {
            streams.sweep();
            left()
        })
        .collect();

    assert_eq!(before, [12; 10]);
    assert_eq!(after, [9, 6, 3, 0, 0]);
    drop(listening);
}

/// Fault 44 of the design.
#[tokio::test]
async fn the_oldest_streams_end_while_there_is_no_memory() {
    let SetUp { grants, clock, .. } = SetUp::with_code(None).await;
    let streams = worker(&grants, &Clock::Manual(clock));
    let lease = |then| Lease {
        grant: GRANT.bytes(),
        issued: Timestamp::from_seconds(0),
        until: Timestamp::from_seconds(u64::MAX),
        then,
    };
    let call = streams.open.await_answer(lease(End::Cut));
    let mut listening: Vec<_> =
        (0..20).map(|_| streams.open.await_answer(lease(End::Clean))).collect();
    // Its place is another one's now, who came last.
    drop(listening.remove(0));
    listening.push(streams.open.await_answer(lease(End::Clean)));
    let ended = async |answer: &AwaitedAnswer| {
        tokio::select! { biased; () = answer.ended() => true, () = async {} => false }
    };

    streams.sweep();
    streams.all.pressure().set(Pressure::Streams);
    streams.sweep();
    assert!(!ended(&listening[0]).await);
    streams.all.pressure().set(Pressure::Requests);
    streams.sweep();

    let mut those = Vec::new();
    for (index, answer) in listening.iter().enumerate() {
        if ended(answer).await {
            those.push(index);
        }
    }
    assert_eq!(those, [0, 1]);
    for _ in 0..40 {
        streams.sweep();
    }
    assert!(ended(&listening[19]).await);
    assert!(!ended(&call).await, "a call goes on");
}

#[tokio::test]
async fn what_is_refused_depends_on_the_pressure() {
    let SetUp { grants, clock, .. } = SetUp::with_code(None).await;
    let streams = worker(&grants, &Clock::Manual(clock));
    for (pressure, listens, calls) in [
        (Pressure::None, true, true),
        (Pressure::Streams, false, true),
        (Pressure::Requests, false, false),
    ] {
        streams.all.pressure().set(pressure);
        let has_room = |method: Method| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            streams.has_room_for(&request)
        };
        assert_eq!((has_room(Method::GET), has_room(Method::POST)), (listens, calls));
    }
}

/// A call that takes all the time there is does not take theirs.
#[tokio::test]
async fn streams_that_listen_end_before_the_time_is_over() {
    let SetUp { grants, clock, .. } = SetUp::with_code(None).await;
    for (within, expected) in [(10, 5), (5, 1), (1, 1), (0, 1)] {
        let streams = worker(&grants, &Clock::Manual(clock.clone()));
        let lease = |then| Lease {
            grant: GRANT.bytes(),
            issued: Timestamp::from_seconds(0),
            until: Timestamp::from_seconds(u64::MAX),
            then,
        };
        let _listening = streams.open.await_answer(lease(End::Clean));
        let _call = streams.open.await_answer(lease(End::Cut));
        let listens = || {
            let mut listens = false;
            streams.open.each(|lease| listens |= lease.then == End::Clean);
            listens
        };

        streams.all.finish(Duration::from_secs(within));
        let sweeps = (1..20).find(|_| {
            streams.sweep();
            !listens()
        });

        assert_eq!(sweeps, Some(expected), "{within}");
    }
}

#[test]
fn a_stream_listens_if_it_is_not_the_answer_to_a_call() {
    let request = |method: &Method, name: Option<&'static str>| {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        if let Some(name) = name {
            request.headers_mut().insert(MCP_METHOD, HeaderValue::from_static(name));
        }
        request
    };
    for (method, name, expected) in [
        (Method::GET, None, true),
        (Method::POST, Some("subscriptions/listen"), true),
        (Method::POST, Some("tools/call"), false),
        (Method::POST, None, false),
        (Method::DELETE, Some("subscriptions/listen"), false),
    ] {
        assert_eq!(asks_to_listen(&request(&method, name)), expected, "{method} {name:?}");
    }
    for (value, expected) in [
        ("text/event-stream", true),
        ("Text/Event-Stream; charset=utf-8", true),
        ("text/event-stream ;charset=utf-8", true),
        ("text/event-streams", false),
        ("application/json", false),
    ] {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(is_event_stream(&headers), expected, "{value}");
    }
}
