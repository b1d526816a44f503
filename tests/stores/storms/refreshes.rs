//! Clients refresh through three replicas on one Redis: half of them twice at once, a tenth of the answers
//! get lost. Nobody is logged out by that, and nobody gets a second login out of it.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use mcp_doorman::store::StateSettings;
use mcp_doorman::telemetry::LogLevel;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::life;
use crate::load_balancer::LoadBalancer;
use crate::servers::{Server, single, soon_async};
use crate::sized;
use crate::support::client::{Client, Tokens};
use crate::support::doorman::{Doorman, HOST, MINUTE};
use crate::support::fake_mcp_server::FakeMcpServer;

/// A client that is logged in, and everything that it was given.
#[derive(Debug)]
struct LoggedIn {
    client: Client,
    held: Tokens,
    /// Another refresh token of the same generation: the second answer to a refresh that was sent twice.
    twin: Option<String>,
    /// Every refresh token that it had before, with its generation.
    had: Vec<(usize, String)>,
    /// By what we know of it: each refresh that was answered, and heard, is one more.
    generation: usize,
    dice: Dice,
}

/// Three replicas that write to one Redis and know one IdP. Time is theirs together.
async fn three_replicas(redis: &Server) -> [Doorman; 3] {
    let upstream = FakeMcpServer::start().await;
    let builder = || {
        let state = StateSettings::Redis(Box::new(single(redis)));
        Doorman::in_front_of(upstream.clone()).state(state).log_level(LogLevel::Info)
    };
    let first = builder().start().await;
    let second = builder().beside(&first).start().await;
    let third = builder().beside(&first).start().await;
    [first, second, third]
}

fn balanced(replicas: &[Doorman; 3]) -> LoadBalancer {
    LoadBalancer::before(replicas.iter().map(|doorman| doorman.door().address).collect(), HOST)
}

#[tokio::test]
async fn a_storm_of_refreshes_logs_nobody_out_and_forks_no_login() {
    let redis = Server::start(&[]);
    let replicas = three_replicas(&redis).await;
    let (balancer, idp) = (balanced(&replicas), replicas[0].idp());
    let grants = sized(200, 2_000);
    let mut lanes = log_in_all(&balancer, grants).await;

    let (mut sent, mut times_stale) = (0, 0);
    for round in 0..ROUNDS {
        let pause = PAUSES[round % PAUSES.len()];
        times_stale += usize::from(pause > STALE_AFTER);
        replicas[0].later(pause);
        sent += each(&mut lanes, &balancer, refresh_somehow).await;
    }

    // Nobody was logged out. Twice, so that what came before is replaced for good.
    for _ in 0..2 {
        sent += each(&mut lanes, &balancer, refresh_and_call).await;
    }
    // Nor asked the IdP more often than needed, let alone with a token that it had replaced.
    let asked = idp.asked("/token");
    let refresh_tokens: Vec<&String> =
        asked.iter().filter_map(|asked| asked.parameters.get("refresh_token")).collect();
    let different: HashSet<_> = refresh_tokens.iter().collect();
    assert_eq!(
        refresh_tokens.len(),
        different.len(),
        "a refresh token of the IdP's was used twice"
    );
    assert_eq!(refresh_tokens.len(), grants * times_stale);
    // Two answers to one token carry the same generation: there are no more than clients know of.
    let known: usize = lanes.iter().flatten().map(|one| one.generation).sum();
    assert_eq!(generations_issued(&replicas) + grants, known, "besides the first of each");
    eprintln!("{grants} logins, {sent} refreshes, {} asked at the IdP", refresh_tokens.len());

    // Of the tokens of a login only the newest is good: any other now counts as stolen, and ends it.
    replicas[0].later(MINUTE);
    each(&mut lanes, &balancer, an_older_token_ends_the_login).await;
}

/// An IdP that takes its time, and everybody at once: it is asked once (OAuth 2.1 §4.3.1: it may take its
/// token only once).
#[tokio::test]
async fn a_login_that_everybody_refreshes_at_once_is_asked_about_once() {
    let redis = Server::start(&[]);
    let replicas = three_replicas(&redis).await;
    let (balancer, idp) = (balanced(&replicas), replicas[0].idp());
    let one = log_in(balancer.clone(), 0).await;
    replicas[0].later(STALE_AFTER + MINUTE);

    idp.hold_refreshes();
    let before = reads(&redis);
    let mut refreshes = JoinSet::new();
    for _ in 0..60 {
        let request = life::refresh(&one.client, &one.held.refresh);
        let balancer = balancer.clone();
        refreshes.spawn(async move { balancer.send(request).await.unwrap() });
    }
    idp.until_refreshed().await;
    soon_async("everybody", async || (reads(&redis) >= before + 60).then_some(())).await;
    idp.release_refreshes();

    for answer in refreshes.join_all().await {
        answer.assert_status(200);
    }
    assert_eq!(idp.refreshes(), 1);
}

async fn log_in_all(balancer: &LoadBalancer, count: usize) -> Vec<Vec<LoggedIn>> {
    let mut lanes: Vec<Vec<LoggedIn>> = Vec::new();
    while lanes.len() < LANES {
        let mut under_way = JoinSet::new();
        for number in 0..count / LANES {
            under_way.spawn(log_in(balancer.clone(), lanes.len() * count + number));
        }
        lanes.push(under_way.join_all().await);
    }
    lanes
}

async fn log_in(balancer: LoadBalancer, number: usize) -> LoggedIn {
    let client = life::register(&balancer).await.unwrap();
    let granted = life::authorize(&balancer, &client).await.unwrap();
    let held = balancer.send(life::redemption(&client, &granted)).await.unwrap().tokens();
    let dice = Dice::seeded(number as u64);
    LoggedIn { client, held, twin: None, had: Vec::new(), generation: 1, dice }
}

/// Let every client do `step`: those of a lane one after another, the lanes side by side. How many requests
/// that took.
async fn each<F>(
    lanes: &mut Vec<Vec<LoggedIn>>,
    balancer: &LoadBalancer,
    step: impl Fn(LoggedIn, LoadBalancer) -> F + Copy + Send + 'static,
) -> usize
where
    F: Future<Output = (LoggedIn, usize)> + Send,
{
    let mut under_way = JoinSet::new();
    for lane in std::mem::take(lanes) {
        let balancer = balancer.clone();
        under_way.spawn(async move {
            let (mut done, mut sent) = (Vec::new(), 0);
            for one in lane {
                let (one, more) = step(one, balancer.clone()).await;
                done.push(one);
                sent += more;
            }
            (done, sent)
        });
    }
    let mut sent = 0;
    for (lane, more) in under_way.join_all().await {
        lanes.push(lane);
        sent += more;
    }
    sent
}

/// Once or twice at once; each answer may get lost. If all did, try again: at once, or in the next round.
async fn refresh_somehow(mut one: LoggedIn, balancer: LoadBalancer) -> (LoggedIn, usize) {
    let mut sent = 0;
    loop {
        let mut tokens = vec![one.held.refresh.clone()];
        if one.dice.one_in(2) {
            // As two processes of one client do, each with the tokens that it was given.
            tokens.push(one.twin.clone().unwrap_or_else(|| one.held.refresh.clone()));
        }
        let mut answers = JoinSet::new();
        for token in tokens {
            let (request, balancer) = (life::refresh(&one.client, &token), balancer.clone());
            let is_lost = one.dice.one_in(10);
            answers.spawn(async move {
                if is_lost {
                    let status = balancer.send_and_lose_the_answer(request).await.unwrap();
                    assert_eq!(status, 200);
                    return None;
                }
                Some(balancer.send(request).await.unwrap().tokens())
            });
            sent += 1;
        }
        let mut heard = answers.join_all().await.into_iter().flatten();
        if let Some(held) = heard.next() {
            one.replace(held, heard.next());
            if !one.dice.one_in(5) {
                balancer.send(life::call(&one.held.access)).await.unwrap().assert_status(200);
            }
            return (one, sent);
        }
        if one.dice.one_in(2) {
            return (one, sent);
        }
    }
}

async fn refresh_and_call(mut one: LoggedIn, balancer: LoadBalancer) -> (LoggedIn, usize) {
    let request = life::refresh(&one.client, &one.held.refresh);
    one.replace(balancer.send(request).await.unwrap().tokens(), None);
    balancer.send(life::call(&one.held.access)).await.unwrap().assert_status(200);
    (one, 1)
}

async fn an_older_token_ends_the_login(
    mut one: LoggedIn,
    balancer: LoadBalancer,
) -> (LoggedIn, usize) {
    one.had.retain(|(generation, _)| generation + 2 <= one.generation);
    let (_, older) = &one.had[one.dice.below(one.had.len())];
    for token in [older, &one.held.refresh] {
        let answer = balancer.send(life::refresh(&one.client, token)).await.unwrap();
        answer.assert_error(400, "invalid_grant");
    }
    // Every replica hears of it.
    soon_async("the end of an access token", async || {
        let answer = balancer.send(life::call(&one.held.access)).await.unwrap();
        (answer.status.as_u16() == 401).then_some(())
    })
    .await;
    (one, 2)
}

impl LoggedIn {
    fn replace(&mut self, held: Tokens, twin: Option<Tokens>) {
        let before = std::mem::replace(&mut self.held, held);
        self.had.push((self.generation, before.refresh));
        self.had.extend(self.twin.take().map(|twin| (self.generation, twin)));
        self.twin = twin.map(|tokens| tokens.refresh);
        self.generation += 1;
    }
}

/// How many records were read so far.
fn reads(redis: &Server) -> usize {
    let told: String = redis.say(&["INFO", "commandstats"]);
    let (_, reads) = told.split_once("cmdstat_get:calls=").unwrap();
    reads.split(',').next().unwrap().parse().unwrap()
}

/// Different generations that the replicas say they have issued in answer to a refresh.
fn generations_issued(replicas: &[Doorman; 3]) -> usize {
    let lines = replicas.iter().flat_map(|doorman| doorman.log().lines());
    let issued: BTreeSet<String> = lines
        .filter_map(|line| {
            let generation = line["generation"].as_u64()?;
            Some(format!("{} {generation}", line["grant_id"]))
        })
        .collect();
    issued.len()
}

/// Of which each has the same number of logins, side by side.
const LANES: usize = 40;
const ROUNDS: usize = 6;
/// Before each round: a retry of what was just replaced; one that is later than that; one when the IdP has
/// to be asked again.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(61), Duration::from_mins(40)];
const STALE_AFTER: Duration = Duration::from_mins(30);
