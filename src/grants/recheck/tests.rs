//! Asking the IdP again: by one at a time, to an end, and what its answer does to the grant.

use super::*;
use crate::grants::set_up::{FirmIdp, GRANT, SetUp, StoreConduct};
use crate::idp::LoginFault;
use crate::secret::Secret;

fn secret(token: &str) -> Secret {
    Secret::new(token.to_owned())
}

fn yes(next_token: &str) -> Recheck {
    Recheck { verdict: Verdict::Vouched(None), refresh_token: Some(secret(next_token)) }
}

fn shrug() -> Recheck {
    let verdict = Verdict::Unknown(LoginFault::Garbled("no JSON object with an access_token"));
    Recheck { verdict, refresh_token: None }
}

async fn read(grants: &Grants) -> ReadGrant {
    grants.read(GRANT).await.unwrap().unwrap()
}

/// What the row would ask the IdP with.
async fn kept(grants: &Grants) -> String {
    read(grants).await.grant.vouch.refresh_token.unwrap().secret().expose().to_owned()
}

/// Many an IdP takes its refresh token only once: lost, the person would be logged out.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_nine_minutes_loses_no_token_of_the_idp() {
    let SetUp { grants, store, .. } = SetUp::live("T1").await;
    let current = read(&grants).await;
    store.conduct(StoreConduct::Away);

    let away = async {
        sleep(Duration::from_mins(9)).await;
        store.conduct(StoreConduct::Good);
    };
    let answer = yes("T2");
    let (written, ()) = tokio::join!(grants.write_down(current, 1, &answer), away);

    let given = written.unwrap().unwrap();
    assert_eq!(given.generations.newest(), 2);
    assert_eq!(given, read(&grants).await.grant);
    assert_eq!(kept(&grants).await, "T2");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_given_up_at_last() {
    let SetUp { grants, store, .. } = SetUp::live("T1").await;
    let current = read(&grants).await;
    store.conduct(StoreConduct::Away);

    let begun = Instant::now();
    let written = grants.write_down(current, 1, &yes("T2")).await;

    assert_eq!(written, Err(AdvanceFault::Store(StoreFault)));
    assert!(begun.elapsed() < LONGEST_WRITING + Duration::from_mins(1));
}

/// Where the IdP gave nothing new, nothing is lost, and the client need not wait.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_holds_nobody_up_for_nothing() {
    let SetUp { grants, store, .. } = SetUp::live("T1").await;
    let current = read(&grants).await;
    store.conduct(StoreConduct::Away);

    let begun = Instant::now();
    let written = grants.write_down(current, 1, &shrug()).await;

    assert_eq!(written, Err(AdvanceFault::Store(StoreFault)));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_nobody_heard_of_is_written_once() {
    let SetUp { grants, store, .. } = SetUp::live("T1").await;
    let current = read(&grants).await;
    store.conduct(StoreConduct::SwapsUnheard);

    let written = grants.write_down(current, 1, &yes("T2")).await;

    assert_eq!(written.unwrap().unwrap().generations.newest(), 2);
    assert_eq!(read(&grants).await.grant.generations.newest(), 2);
    assert_eq!(kept(&grants).await, "T2");
}

/// A process that is to stop waits for what the IdP is saying, though not for ever.
#[tokio::test(start_paused = true)]
async fn a_farewell_waits_for_whoever_asks() {
    let SetUp { grants, .. } = SetUp::live("T1").await;
    let turn = grants.asking.begin(GRANT).unwrap();
    let (soon, begun) = (Duration::from_secs(5), Instant::now());

    grants.rechecks_are_over(soon).await;
    assert_eq!(begun.elapsed(), soon, "and it goes without");
    tokio::join!(grants.rechecks_are_over(soon), async {
        sleep(Duration::from_secs(2)).await;
        drop(turn);
    });

    assert_eq!(begun.elapsed().as_secs(), 5 + 2);
}

/// Two replicas ask: the second's token was spent by the first, so what it hears is not about the person.
#[tokio::test]
async fn a_refusal_of_a_token_that_was_renewed_meanwhile_ends_no_grant() {
    let SetUp { grants, clock, .. } = SetUp::live("T1").await;
    clock.advance(Duration::from_mins(40));
    let firm = FirmIdp::saying(400, r#"{"error":"invalid_grant"}"#, &clock).await;
    firm.hold();
    let (current, other) = (read(&grants).await, read(&grants).await);
    let asker = grants.asking(&firm);
    let asking = tokio::spawn(async move { asker.advance(current, 1).await });
    firm.question().await;

    grants.write_down(other, 1, &yes("T2")).await.unwrap().unwrap();
    firm.release();
    let given = timeout(LONGEST_ANSWER, asking).await.unwrap().unwrap().unwrap();

    assert_eq!(given.generations.newest(), 2);
    assert_eq!(read(&grants).await.grant.state, GrantState::Live);
    assert_eq!(kept(&grants).await, "T2");
    assert_eq!(firm.asked(), 1);
}

/// The same refusal while the token is the one that the row has.
#[tokio::test]
async fn a_refusal_of_the_token_of_the_row_ends_the_grant() {
    let SetUp { grants, clock, .. } = SetUp::live("T1").await;
    clock.advance(Duration::from_mins(40));
    let firm = FirmIdp::saying(400, r#"{"error":"invalid_grant"}"#, &clock).await;

    let current = read(&grants).await;
    let given = grants.asking(&firm).advance(current, 1).await;

    assert_eq!(given, Err(AdvanceFault::Ended));
    let ended = read(&grants).await.grant;
    assert_eq!((ended.state, ended.vouch.refresh_token), (GrantState::Ended, None));
}

/// Which errors of an IdP that is there end a grant when the grace is over, and not a moment before.
#[tokio::test]
async fn a_refusal_that_is_not_clear_ends_the_grant_after_the_grace() {
    for (status, body, hours, expected) in [
        (400, r#"{"error":"invalid_request"}"#, 12, None),
        (400, r#"{"error":"invalid_request"}"#, 14, Some(AdvanceFault::Ended)),
        (403, r#"{"error":"access_denied"}"#, 14, Some(AdvanceFault::Ended)),
        (200, r#"{"error":"bad_token"}"#, 14, Some(AdvanceFault::Ended)),
        (401, r#"{"error":"invalid_client"}"#, 14, Some(AdvanceFault::Unvouched)),
        (400, r#"{"error":"unauthorized_client"}"#, 14, Some(AdvanceFault::Unvouched)),
        (400, r#"{"error":"invalid_scope"}"#, 14, Some(AdvanceFault::Unvouched)),
        (400, r#"{"error":"invalid_target"}"#, 14, Some(AdvanceFault::Unvouched)),
        (429, r#"{"error":"invalid_request"}"#, 14, Some(AdvanceFault::Unvouched)),
        (503, r#"{"error":"invalid_request"}"#, 14, Some(AdvanceFault::Unvouched)),
        (400, "<html>Bad Request</html>", 14, Some(AdvanceFault::Unvouched)),
        (404, "", 14, Some(AdvanceFault::Unvouched)),
    ] {
        let SetUp { grants, clock, .. } = SetUp::live("T1").await;
        clock.advance(Duration::from_hours(hours));
        let firm = FirmIdp::saying(status, body, &clock).await;

        let current = read(&grants).await;
        let given = grants.asking(&firm).advance(current, 1).await;

        assert_eq!(given.err(), expected, "{status} {body} after {hours} h");
        let ended = expected == Some(AdvanceFault::Ended);
        let state = if ended { GrantState::Ended } else { GrantState::Live };
        assert_eq!(read(&grants).await.grant.state, state, "{status} {body}");
    }
}

#[tokio::test]
async fn a_late_shrug_does_not_weaken_a_newer_yes() {
    let SetUp { grants, clock, .. } = SetUp::live("T1").await;
    clock.advance(Duration::from_mins(40));
    let (late, quick) = (read(&grants).await, read(&grants).await);
    grants.write_down(quick, 1, &yes("T2")).await.unwrap().unwrap();

    let written = grants.write_down(late, 1, &shrug()).await;

    assert_eq!(written, Ok(None));
    assert!(!read(&grants).await.grant.vouch.asked_in_vain);
    assert_eq!(kept(&grants).await, "T2");
}

/// The same at an IdP that keeps its refresh token.
#[tokio::test]
async fn a_late_shrug_does_not_weaken_a_newer_yes_that_brought_no_token() {
    let SetUp { grants, clock, .. } = SetUp::live("T1").await;
    clock.advance(Duration::from_mins(40));
    let (late, quick) = (read(&grants).await, read(&grants).await);
    let yes = Recheck { verdict: Verdict::Vouched(None), refresh_token: None };
    grants.write_down(quick, 1, &yes).await.unwrap().unwrap();

    let written = grants.write_down(late, 1, &shrug()).await;

    assert_eq!(written, Ok(None));
    assert!(!read(&grants).await.grant.vouch.asked_in_vain);
}

/// A grant whose client retries with generation 1, and has 2 as well.
async fn retried() -> SetUp {
    let set_up = SetUp::live("T1").await;
    let first = read(&set_up.grants).await;
    let now = set_up.grants.on.clock.now();
    let judgement = first.grant.generations.judge(1, now);
    let generations = first.grant.generations.after(judgement, 1, now).unwrap();
    let second = Grant { generations, ..first.grant };
    assert!(matches!(set_up.grants.swap(&second, first.version).await, Ok(Swap::Done(_))));
    set_up
}

/// The client uses its newest token while the IdP is asked on behalf of a retry.
#[tokio::test]
async fn a_confirmation_while_the_idp_is_asked_survives() {
    let SetUp { grants, .. } = retried().await;
    let current = read(&grants).await;

    grants.confirm(GRANT, 2).await.unwrap();
    let given = grants.write_down(current, 1, &yes("T2")).await;

    assert_eq!(given.unwrap().unwrap().generations.newest(), 2, "issued again");
    let row = read(&grants).await.grant;
    assert_eq!(row.generations.confirmed(2), None, "it is confirmed already");
    assert_eq!(kept(&grants).await, "T2");
}

/// OAuth 2.1 §4.3.1: the same after the minute in which retries are believed.
#[tokio::test]
async fn theft_that_shows_while_the_idp_is_asked_ends_the_grant() {
    let SetUp { grants, clock, .. } = retried().await;
    clock.advance(Duration::from_mins(40));
    let current = read(&grants).await;

    grants.confirm(GRANT, 2).await.unwrap();
    let given = grants.write_down(current, 1, &yes("T2")).await;

    assert_eq!(given, Err(AdvanceFault::Theft));
    assert_eq!(read(&grants).await.grant.state, GrantState::Ended);
}

/// The person signs out while the IdP is asked: its yes revives nothing.
#[tokio::test]
async fn a_yes_revives_no_grant_that_has_ended_meanwhile() {
    let SetUp { grants, .. } = SetUp::live("T1").await;
    let current = read(&grants).await;

    grants.end(GRANT).await.unwrap();
    let given = grants.write_down(current, 1, &yes("T2")).await;

    assert_eq!(given, Err(AdvanceFault::Ended));
    let row = read(&grants).await.grant;
    assert_eq!((row.state, row.vouch.refresh_token), (GrantState::Ended, None));
}
