//! Replicas are killed (`kill -9`) at any moment, while clients log in, redeem codes and refresh through the
//! others. Nothing is spent twice, and who was logged in stays so.

use std::ops::AddAssign;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::fleet::Fleet;
use crate::life;
use crate::load_balancer::LoadBalancer;
use crate::rotating_idp::RotatingIdp;
use crate::servers::Server;
use crate::support::client::{Client, Tokens};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::{is_short, sized};

#[tokio::test]
async fn kills_of_replicas_lose_no_login_where_the_idp_knows_of_lost_answers() {
    let redis = Server::start(&[]);
    let idp = RotatingIdp::start(Duration::MAX).await;

    let counted = kill_replicas_on(&redis, &idp).await;

    assert_eq!(counted.logged_out, 0);
    assert_eq!(idp.counted().refused, 0);
}

/// An IdP that takes each refresh token once knows nobody any more who is killed between its answer and
/// what we write down. That, and nothing else, costs a login.
#[tokio::test]
async fn kills_of_replicas_lose_only_what_a_strict_idp_refuses() {
    let redis = Server::start(&[]);
    let idp = RotatingIdp::start(Duration::ZERO).await;

    let counted = kill_replicas_on(&redis, &idp).await;

    assert_eq!(counted.logged_out, idp.counted().refused);
}

#[tokio::test]
async fn kills_of_the_only_process_lose_no_login_that_is_kept_in_a_file() {
    let idp = RotatingIdp::start(Duration::MAX).await;
    let upstream = FakeMcpServer::start().await;
    // In memory, if that may be: a process that is killed loses no more there, and a busy disk would be late.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let state = format!("{{ dir: {} }}", folder.path().display());
    // Asking the IdP, when it is cut, is done again only after 90 s: not to be waited for each time.
    let tokens = if is_short() { "" } else { ASKS_OFTEN };
    let fleet = Fleet::start(1, &idp, &upstream, &state, tokens);

    let (logins, mut counted, _fleet) = kill_while_clients_live(fleet).await;
    counted += check_all(logins).await;

    tell(counted, &idp);
    assert_eq!(counted.logged_out, 0);
}

async fn kill_replicas_on(redis: &Server, idp: &RotatingIdp) -> Counted {
    let upstream = FakeMcpServer::start().await;
    let state = format!("{{ redis: {{ address: \"127.0.0.1:{}\" }} }}", redis.port);
    let fleet = Fleet::start(3, idp, &upstream, &state, ASKS_OFTEN);

    let (logins, mut counted, _fleet) = kill_while_clients_live(fleet).await;
    // Nobody asks the IdP just now: who still has the right to is dead. It runs out after 90 s.
    let now = Clock::System.now().seconds();
    for lease in redis.say::<Vec<String>>(&["KEYS", "mcp-doorman:recheck:*"]) {
        let record: String = redis.say(&["GET", &lease]);
        let until: u64 = record.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(until <= now + 90);
        counted.leases_of_the_dead += usize::from(until > now);
        if is_short() {
            redis.say::<usize>(&["DEL", &lease]);
        }
    }
    counted += check_all(logins).await;

    tell(counted, idp);
    counted
}

/// What is left when the last one has been killed, and everybody has done what they were at.
async fn kill_while_clients_live(mut fleet: Fleet) -> (Vec<Login>, Counted, Fleet) {
    let mut dice = Dice::seeded(1);
    let is_over = watch::Sender::new(false);
    let replicas = fleet.balanced();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let life = Life {
            replicas: replicas.clone(),
            dice: Dice::seeded(100 + number),
            logins: Vec::new(),
            counted: Counted::default(),
        };
        clients.spawn(life.live(is_over.subscribe()));
    }
    let kills = sized(20, 200);
    for _ in 0..kills {
        // However fast this machine is, something goes on between two kills.
        let enough = replicas.answered() + dice.below(MOST_ANSWERS);
        let answered = async {
            while replicas.answered() < enough {
                sleep(SHORT).await;
            }
        };
        timeout(PATIENCE, answered).await.unwrap();
        sleep(dice.pause(SHORT)).await;
        fleet.kill_and_start_again(dice.below(fleet.count()));
    }
    is_over.send_replace(true);

    let mut counted = Counted { kills, ..Counted::default() };
    let mut logins = Vec::new();
    for (of_one, more) in clients.join_all().await {
        logins.extend(of_one);
        counted += more;
    }
    // Else nothing was tried.
    assert!(counted.logins >= kills && counted.refreshes >= kills, "{counted:?}");
    assert!(counted.cut > 0, "no kill met anybody: {counted:?}");
    (logins, counted, fleet)
}

async fn check_all(logins: Vec<Login>) -> Counted {
    let mut checks = JoinSet::new();
    for login in logins {
        checks.spawn(login.check());
    }
    let mut counted = Counted::default();
    for more in checks.join_all().await {
        counted += more;
    }
    counted
}

fn tell(counted: Counted, idp: &RotatingIdp) {
    eprintln!("{counted:?} {:?}", idp.counted());
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    kills: usize,
    logins: usize,
    refreshes: usize,
    /// Answers that did not come, because their replica was killed.
    cut: usize,
    /// 503 and the like.
    put_off: usize,
    /// Logins that were begun again: by the person, or by the client whose code was spent unheard.
    begun_again: usize,
    codes_used_twice: usize,
    /// Rights to ask the IdP that nobody gave back.
    leases_of_the_dead: usize,
    /// Logins that were lost.
    logged_out: usize,
    /// Until the last login that was put off went on.
    longest_wait: Duration,
}

/// Somebody with a client, and all logins that they have done with it.
struct Life {
    replicas: LoadBalancer,
    dice: Dice,
    logins: Vec<Login>,
    counted: Counted,
}

struct Login {
    replicas: LoadBalancer,
    client: Client,
    held: Tokens,
    /// Every other refresh token that was given for it.
    had: Vec<String>,
    /// A replica can't say just now: not asked again before the end.
    is_put_off: bool,
}

/// What a client makes of an answer of the token endpoint.
enum Told {
    Tokens(Tokens),
    InvalidGrant,
    /// Later, perhaps.
    Unavailable,
    /// Nothing: it may have been done.
    Cut,
}

impl Life {
    async fn live(mut self, is_over: watch::Receiver<bool>) -> (Vec<Login>, Counted) {
        while !*is_over.borrow() {
            let usable: Vec<usize> =
                (0..self.logins.len()).filter(|at| !self.logins[*at].is_put_off).collect();
            if usable.len() < 3 || self.dice.one_in(6) {
                self.log_in().await;
            } else {
                let chosen = usable[self.dice.below(usable.len())];
                self.refresh(chosen).await;
            }
        }
        (self.logins, self.counted)
    }

    async fn log_in(&mut self) {
        let Ok(client) = life::register(&self.replicas).await else {
            self.counted.begun_again += 1;
            return;
        };
        let Ok(granted) = life::authorize(&self.replicas, &client).await else {
            self.counted.begun_again += 1;
            return;
        };
        let request = life::redemption(&client, &granted);
        let is_used_twice = self.dice.one_in(4);
        let mut answers = Vec::new();
        if is_used_twice {
            self.counted.codes_used_twice += 1;
            let twice = tokio::join!(
                told(&self.replicas, request.clone()),
                told(&self.replicas, request.clone())
            );
            answers.extend([twice.0, twice.1]);
        } else {
            // Until it is known what has become of it.
            loop {
                let answer = told(&self.replicas, request.clone()).await;
                let is_known = matches!(answer, Told::Tokens(_) | Told::InvalidGrant);
                answers.push(answer);
                if is_known {
                    break;
                }
            }
        }

        let is_unheard = |answer: &Told| matches!(answer, Told::Cut | Told::Unavailable);
        let is_refused = |answer: &Told| matches!(answer, Told::InvalidGrant);
        let unheard = answers.iter().filter(|answer| is_unheard(answer)).count();
        let refused = answers.iter().filter(|answer| is_refused(answer)).count();
        self.counted.cut += answers.iter().filter(|answer| matches!(answer, Told::Cut)).count();
        let mut given: Vec<Tokens> = answers.into_iter().filter_map(Told::tokens).collect();
        assert!(given.len() <= 1, "a code bought two logins");
        let Some(held) = given.pop() else {
            assert!(unheard > 0, "a code bought nothing");
            self.counted.begun_again += 1;
            return;
        };
        self.counted.logins += 1;
        let replicas = self.replicas.clone();
        let mut login = Login { replicas, client, held, had: Vec::new(), is_put_off: false };
        // RFC 6749 §10.5: what a code bought that was used twice is ended.
        if is_used_twice && refused > 0 {
            login.must_be_dead().await;
        } else if !is_used_twice {
            self.logins.push(login);
        }
    }

    /// With the token that is held: once, or twice at the same time.
    async fn refresh(&mut self, chosen: usize) {
        let login = &mut self.logins[chosen];
        loop {
            let request = || life::refresh(&login.client, &login.held.refresh);
            let mut answers = vec![];
            if self.dice.one_in(2) {
                let twice =
                    tokio::join!(told(&self.replicas, request()), told(&self.replicas, request()));
                answers.extend([twice.0, twice.1]);
            } else {
                answers.push(told(&self.replicas, request()).await);
            }
            let mut is_cut = false;
            let mut is_refused = false;
            let mut given = Vec::new();
            for answer in answers {
                self.counted.refreshes += 1;
                match answer {
                    Told::Tokens(tokens) => given.push(tokens),
                    Told::InvalidGrant => is_refused = true,
                    Told::Unavailable => {
                        self.counted.put_off += 1;
                        login.is_put_off = true;
                    }
                    Told::Cut => {
                        self.counted.cut += 1;
                        is_cut = true;
                    }
                }
            }
            if is_refused {
                self.counted.logged_out += 1;
                self.logins.remove(chosen);
                return;
            }
            let is_given = !given.is_empty();
            for tokens in given {
                let before = std::mem::replace(&mut login.held, tokens);
                login.had.push(before.refresh);
            }
            if is_given {
                // Most use what they were given. What becomes of this is looked at in the end.
                if !self.dice.one_in(5) {
                    drop(self.replicas.send(life::call(&login.held.access)).await);
                }
                return;
            }
            if !is_cut {
                return;
            }
        }
    }
}

impl Login {
    /// It goes on, and only by its newest tokens.
    async fn check(mut self) -> Counted {
        let mut counted = Counted::default();
        let begun = Instant::now();
        if !self.goes_on().await {
            counted.logged_out = 1;
            return counted;
        }
        if self.is_put_off {
            counted.longest_wait = begun.elapsed();
        }
        // More generations than are ever taken for a retry.
        for _ in 0..3 {
            assert!(self.goes_on().await, "nobody was killed, and yet it is over");
        }
        // Of another life of this login, this one would be good.
        let old = self.had.len() - 3;
        let older = self.had.swap_remove(Dice::seeded(old as u64).below(old));
        for token in [&older, &self.held.refresh] {
            let answer = self.replicas.send(life::refresh(&self.client, token)).await.unwrap();
            answer.assert_error(400, "invalid_grant");
        }
        counted
    }

    /// Refreshes, as soon as it may, and calls. `false`: it may not.
    async fn goes_on(&mut self) -> bool {
        let until = Instant::now() + LONGEST_PUT_OFF;
        while Instant::now() < until {
            match told(&self.replicas, life::refresh(&self.client, &self.held.refresh)).await {
                Told::InvalidGrant => return false,
                Told::Unavailable | Told::Cut => sleep(Duration::from_millis(200)).await,
                Told::Tokens(tokens) => {
                    let before = std::mem::replace(&mut self.held, tokens);
                    self.had.push(before.refresh);
                    let answer = self.replicas.send(life::call(&self.held.access)).await;
                    // One that has expired meanwhile is refreshed, as clients do.
                    if answer.unwrap().status == 200 {
                        return true;
                    }
                }
            }
        }
        panic!("not once in {LONGEST_PUT_OFF:?} could it be refreshed and used");
    }

    async fn must_be_dead(&mut self) {
        loop {
            match told(&self.replicas, life::refresh(&self.client, &self.held.refresh)).await {
                Told::InvalidGrant => return,
                Told::Unavailable | Told::Cut => {}
                Told::Tokens(_) => panic!("a code was used twice, and its login lives"),
            }
        }
    }
}

impl Told {
    fn tokens(self) -> Option<Tokens> {
        match self {
            Self::Tokens(tokens) => Some(tokens),
            Self::InvalidGrant | Self::Unavailable | Self::Cut => None,
        }
    }
}

async fn told(replicas: &LoadBalancer, request: Request) -> Told {
    let Ok(answer) = replicas.send(request).await else { return Told::Cut };
    read(&answer)
}

fn read(answer: &Exchange) -> Told {
    if answer.status.is_server_error() {
        return Told::Unavailable;
    }
    if answer.status == 200 {
        return Told::Tokens(answer.tokens());
    }
    answer.assert_error(400, "invalid_grant");
    Told::InvalidGrant
}

impl AddAssign for Counted {
    fn add_assign(&mut self, more: Self) {
        self.kills += more.kills;
        self.logins += more.logins;
        self.refreshes += more.refreshes;
        self.cut += more.cut;
        self.put_off += more.put_off;
        self.begun_again += more.begun_again;
        self.codes_used_twice += more.codes_used_twice;
        self.leases_of_the_dead += more.leases_of_the_dead;
        self.logged_out += more.logged_out;
        self.longest_wait = self.longest_wait.max(more.longest_wait);
    }
}

/// The IdP is asked by whoever refreshes 5 s after it was asked last.
const ASKS_OFTEN: &str = "tokens: { recheck_after: 10s }";
const CLIENTS: u64 = 16;
/// Between two kills.
const MOST_ANSWERS: usize = 100;
const SHORT: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(2);
/// Longer than whoever asks the IdP is waited for.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(180);
