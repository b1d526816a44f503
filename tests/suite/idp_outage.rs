//! The IdP is away, and a hundred clients go on as if it were there: all of them at once, again and again.

use std::sync::Arc;
use std::time::Duration;

use mcp_doorman::telemetry::LogLevel;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::access_token::{IDP_KEY, of, start};
use crate::support::doorman::{Doorman, HOUR, Login, MINUTE};
use crate::support::fake_idp::DISCOVERY;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

const CLIENTS: usize = 100;
const MOMENT: Duration = Duration::from_secs(10);

/// Our own tokens.
#[tokio::test]
async fn a_hundred_clients_call_and_refresh_through_half_a_day_without_the_idp() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).log_level(LogLevel::Warn).start().await;
    let mut logins = Vec::new();
    for _ in 0..CLIENTS {
        let login = doorman.log_in().await;
        logins.push(Living { until: doorman.now() + 3595, login, calls: 0 });
    }
    doorman.idp().go_down();
    doorman.later(31 * MINUTE);

    // In a minute and a half all of them are to be asked about often, then once in a token's life: 11 h 30 min.
    let steps = [vec![MOMENT; 9], vec![55 * MINUTE; 12]].concat();
    let (doorman, steps) = (Arc::new(doorman), Arc::new(steps));
    let everybody = Arc::new(Barrier::new(CLIENTS));
    let mut living = JoinSet::new();
    for login in logins {
        let (doorman, steps) = (doorman.clone(), steps.clone());
        living.spawn(refresh_through(doorman, login, steps, everybody.clone()));
    }
    let logins = living.join_all().await;

    assert_eq!(logins.len(), CLIENTS);
    let calls: usize = logins.iter().map(|living| living.calls).sum();
    assert!(calls > CLIENTS * 21 * 8 / 10, "only {calls} calls");
    assert!(doorman.idp().asked_in_vain(&["/token"]).len() > 20, "nobody was asked about");
    assert_eq!(doorman.idp().refreshes(), 0);
    asked_for_keys_seldom(&doorman, 12);

    // What the IdP gave for each was kept: it takes every one.
    doorman.idp().come_up();
    doorman.later(MINUTE);
    let mut going_on = JoinSet::new();
    for login in logins {
        going_on.spawn(call_and_refresh(doorman.clone(), login));
    }
    assert_eq!(going_on.join_all().await.len(), CLIENTS);
    assert_eq!(doorman.idp().refreshes(), CLIENTS);
}

/// The IdP's tokens, by the last keys that it published.
#[tokio::test]
async fn a_hundred_callers_with_tokens_of_the_idp_go_on_through_a_day_without_it() {
    let server = FakeMcpServer::start().await;
    let doorman = start(Doorman::in_front_of(server).log_level(LogLevel::Info)).await;
    // It looks at the IdP as clients do, at the start and never again.
    doorman.log().line_with("MCP clients can't get tokens").await;
    doorman.idp().go_down();
    doorman.later(11 * MINUTE);

    // Two minutes in which strangers name unknown keys all the time, then 22 hours.
    let steps = [vec![MOMENT; 12], vec![2 * HOUR; 11]].concat();
    let (doorman, steps) = (Arc::new(doorman), Arc::new(steps));
    let everybody = Arc::new(Barrier::new(CLIENTS));
    let mut living = JoinSet::new();
    for n in 0..CLIENTS {
        let (doorman, steps) = (doorman.clone(), steps.clone());
        living.spawn(call_through(doorman, n, steps, everybody.clone()));
    }

    assert_eq!(living.join_all().await.len(), CLIENTS);
    asked_for_keys_seldom(&doorman, 12);
    doorman.idp().come_up();
    doorman.later(MINUTE);
    let fetched = async {
        while doorman.idp().asked("/jwks").len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("keys to be fetched", fetched).await;
}

/// A client with its tokens.
struct Living {
    login: Login,
    /// How long it was told that its access token is good: seconds since 1970.
    until: u64,
    calls: usize,
}

/// Returns the client as it is in the end.
async fn refresh_through(
    doorman: Arc<Doorman>,
    mut living: Living,
    steps: Arc<Vec<Duration>>,
    everybody: Arc<Barrier>,
) -> Living {
    for step in steps.iter() {
        living = call_and_refresh(doorman.clone(), living).await;
        until_later(&doorman, *step, &everybody).await;
    }
    living
}

async fn call_and_refresh(doorman: Arc<Doorman>, mut living: Living) -> Living {
    let Living { login, until, calls } = &mut living;
    // Of whom nobody was asked yet gets what is left of the IdP's last word, which may be short.
    if doorman.now() < *until {
        doorman.call(&login.tokens.access).await.assert_status(200);
        *calls += 1;
    }
    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
    login.tokens = answer.tokens();
    *until = doorman.now() + answer.json()["expires_in"].as_u64().unwrap();
    living
}

async fn call_through(
    doorman: Arc<Doorman>,
    n: usize,
    steps: Arc<Vec<Duration>>,
    everybody: Arc<Barrier>,
) {
    let token = of(doorman.idp(), name_of(n), doorman.now()).claim("exp", doorman.now() + 86_400);
    let usual = token.signed_by(&IDP_KEY);
    for (round, step) in steps.iter().enumerate() {
        doorman.call(&usual).await.assert_status(200);
        // One that was never seen, so that its signature is verified now.
        let new = token.clone().claim("jti", format!("{n}-{round}"));
        doorman.call(&new.clone().signed_by(&IDP_KEY)).await.assert_status(200);
        if n.is_multiple_of(10) {
            let unknown = new.head("kid", format!("unknown-{n}-{round}")).signed_by(&IDP_KEY);
            doorman.call(&unknown).await.assert_status(503);
        }
        until_later(&doorman, *step, &everybody).await;
    }
}

/// Once everybody is here, it is later.
async fn until_later(doorman: &Doorman, step: Duration, everybody: &Barrier) {
    if everybody.wait().await.is_leader() {
        doorman.later(step);
    }
    // Nobody goes on before.
    everybody.wait().await;
}

/// Two each minute, and no fewer than `at_least` in all. Keys are asked for where its metadata says, so an IdP
/// that is down sees who asks for that.
#[track_caller]
fn asked_for_keys_seldom(doorman: &Doorman, at_least: usize) {
    let asked = doorman.idp().asked_in_vain(&[DISCOVERY, "/jwks"]);
    assert!(asked.len() >= at_least, "asked only at {asked:?}");
    for three in asked.windows(3) {
        // The clock may have moved while one was on its way.
        let span = Duration::from_secs(three[2] - three[0]);
        assert!(span + MOMENT >= MINUTE, "three within {span:?}: {asked:?}");
    }
}

fn name_of(n: usize) -> &'static str {
    format!("person-{n}").leak()
}
