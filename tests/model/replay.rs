//! Steps of the model, taken in the product: two browsers, two clients, an IdP with two people.

use std::collections::BTreeSet;

use mcp_doorman::telemetry::LogLevel;
use serde_json::json;
use url::Url;

use crate::model::explore::Bounds;
use crate::model::login::{Bent, Client as Which, Outcome, Party, State, Step, Verifier, World};
use crate::support::browser::Browser;
use crate::support::client::{Authorization, Client};
use crate::support::doorman::{Doorman, MINUTE, WEB_REDIRECT};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::Person;
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::{hash_text, random_text};

/// A product that walks are taken through, one after another.
#[derive(Debug)]
pub struct Stage {
    doorman: Doorman,
    usual: Client,
    evil: Client,
}

/// One way through the product and the model at once.
#[derive(Debug)]
pub struct Walk<'a> {
    stage: &'a Stage,
    world: World,
    state: State,
    way: Vec<(Step, Outcome)>,
    victim: Browser,
    attacker: Browser,
    attackers_verifier: String,
    pages: Vec<(Authorization, Exchange)>,
    urls_to_the_idp: Vec<Url>,
    idp_codes: Vec<String>,
    codes: Vec<String>,
    tokens: Vec<String>,
}

/// Chooses as its seed says (`SplitMix64`).
#[derive(Debug)]
pub struct Dice(u64);

impl Stage {
    pub async fn set() -> Self {
        let upstream = FakeMcpServer::start().await;
        let builder = Doorman::in_front_of(upstream).workers(1).log_level(LogLevel::Warn);
        let doorman = builder.start().await;
        let usual = doorman.register().await;
        let evil = doorman.register_at(WEB_REDIRECT).await;
        Self { doorman, usual, evil }
    }

    pub fn walk(&self, world: World) -> Walk<'_> {
        // So that budgets forget the walk before.
        self.doorman.later(MINUTE);
        Walk {
            stage: self,
            world,
            state: State::default(),
            way: Vec::new(),
            victim: self.doorman.browser(),
            attacker: self.doorman.browser(),
            attackers_verifier: random_text(),
            pages: Vec::new(),
            urls_to_the_idp: Vec::new(),
            idp_codes: Vec::new(),
            codes: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn client(&self, which: Which) -> &Client {
        match which {
            Which::Usual => &self.usual,
            Which::Evil => &self.evil,
        }
    }
}

impl Walk<'_> {
    /// Take `step` in both. They agree on what comes of it.
    pub async fn take(&mut self, step: Step) -> Outcome {
        let (next, expected) = self.world.take(&self.state, step);
        let (outcome, answer) = match step {
            Step::Open { browser, client, begun_by, bent } => {
                self.open(browser, client, begun_by, bent).await
            }
            Step::Approve { browser, page } => self.approve(browser, page).await,
            Step::SignIn { browser, login } => self.sign_in(browser, login).await,
            Step::ComeBack { browser, login, idp_code } => {
                self.come_back(browser, login, idp_code).await
            }
            Step::Redeem { client, code, verifier, .. } => {
                self.redeem(client, code, verifier).await
            }
        };
        assert_eq!(outcome, expected, "{step:?}\nafter {:#?}\n{answer}", self.way);
        self.way.push((step, outcome));
        self.state = next;
        outcome
    }

    /// Both browsers were here before, so each has a cookie of its own.
    pub async fn were_here_before(&self) {
        let doorman = &self.stage.doorman;
        for browser in [&self.victim, &self.attacker] {
            let page = browser.get(&doorman.authorization(&self.stage.usual).url()).await;
            page.assert_page(200);
        }
    }

    pub fn is_refused(&self) -> bool {
        self.way.last().is_some_and(|(_, outcome)| !outcome.is_progress())
    }

    /// Every token stands for whom the model says, as long as it says; and the victim can log in.
    pub async fn end(mut self) {
        let doorman = &self.stage.doorman;
        for (token, modelled) in self.tokens.iter().zip(&self.state.tokens) {
            let answer = doorman.call(token).await;
            if self.state.is_ended(modelled) {
                answer.assert_status(401);
                continue;
            }
            answer.assert_status(200);
            let person = self.state.codes[modelled.code].person;
            assert_eq!(self.who_was_told(), [called(person)], "{:#?}", self.way);
        }
        assert_eq!(self.tokens.len(), self.state.tokens.len());

        let page = self.state.pages.len();
        let (victim, login) = (Party::Victim, self.state.logins.len());
        let (idp_code, code) = (self.state.idp_codes.len(), self.state.codes.len());
        let (client, verifier) = (Which::Usual, Verifier::OfPage(page));
        self.take(Step::Open { browser: victim, client, begun_by: victim, bent: None }).await;
        self.take(Step::Approve { browser: victim, page }).await;
        self.take(Step::SignIn { browser: victim, login }).await;
        self.take(Step::ComeBack { browser: victim, login, idp_code }).await;
        let last = self.take(Step::Redeem { by: victim, client, code, verifier }).await;

        assert_eq!(last, Outcome::Tokens, "{:#?}", self.way);
        let doorman = &self.stage.doorman;
        doorman.call(self.tokens.last().unwrap()).await.assert_status(200);
        assert_eq!(self.who_was_told(), [called(victim)], "{:#?}", self.way);
    }

    fn browser(&self, whose: Party) -> &Browser {
        match whose {
            Party::Victim => &self.victim,
            Party::Attacker => &self.attacker,
        }
    }

    /// Whom the MCP server was last told of.
    fn who_was_told(&self) -> Vec<String> {
        let received = self.stage.doorman.upstream().received();
        received
            .last()
            .unwrap()
            .values("x-forwarded-user")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    async fn open(
        &mut self,
        browser: Party,
        client: Which,
        begun_by: Party,
        bent: Option<Bent>,
    ) -> (Outcome, Exchange) {
        let mut asked = self.stage.doorman.authorization(self.stage.client(client));
        if begun_by == Party::Attacker {
            asked = asked.with("code_challenge", &hash_text(&self.attackers_verifier));
        }
        asked = match bent {
            Some(Bent::RedirectUri) => asked.with("redirect_uri", WEB_REDIRECT),
            Some(Bent::NoChallenge) => {
                asked.without("code_challenge").without("code_challenge_method")
            }
            None => asked,
        };
        let answer = self.browser(browser).get(&asked.url()).await;
        if answer.status != 200 {
            return (stopped(&answer), answer);
        }
        answer.assert_page(200);
        self.pages.push((asked, answer.clone()));
        (Outcome::ConsentPage, answer)
    }

    async fn approve(&mut self, browser: Party, page: usize) -> (Outcome, Exchange) {
        let answer = self.browser(browser).approve(&self.pages[page].1).await;
        if answer.status != 303 {
            return (stopped(&answer), answer);
        }
        let to = answer.location();
        assert!(to.as_str().starts_with(self.stage.doorman.idp().issuer()), "\n{answer}");
        self.urls_to_the_idp.push(to);
        (Outcome::SentToTheIdp, answer)
    }

    async fn sign_in(&mut self, browser: Party, login: usize) -> (Outcome, Exchange) {
        let url = self.urls_to_the_idp[login].as_str();
        let answer = self.browser(browser).get(url).await;
        answer.assert_status(302);
        let back = Url::parse(answer.header("location")).unwrap();
        self.idp_codes.push(parameter(&back, "code"));
        (Outcome::BackFromTheIdp, answer)
    }

    async fn come_back(
        &mut self,
        browser: Party,
        login: usize,
        idp_code: usize,
    ) -> (Outcome, Exchange) {
        let idp = self.stage.doorman.idp();
        // It says at the token endpoint who it was that got the code.
        idp.sign_in(person(self.state.idp_codes[idp_code].person));
        let mut url = Url::parse(&self.stage.doorman.endpoint("/oauth/callback")).unwrap();
        url.query_pairs_mut()
            .append_pair("state", &parameter(&self.urls_to_the_idp[login], "state"))
            .append_pair("code", &self.idp_codes[idp_code])
            .append_pair("iss", idp.issuer());
        let answer = self.browser(browser).get(url.as_str()).await;
        if answer.status != 303 {
            return (stopped(&answer), answer);
        }
        let landing = answer.landing();
        let page = self.state.logins[login].page;
        let client = self.stage.client(self.state.pages[page].client);
        assert!(landing.url.as_str().starts_with(&client.redirect_uri), "\n{answer}");
        assert_eq!(landing.parameter("state"), Some(self.pages[page].0.state.clone()));
        if let Some(error) = landing.parameter("error") {
            landing.assert_error(&["server_error"]);
            return (Outcome::ErrorAtTheClient(word(&error)), answer);
        }
        self.codes.push(landing.code());
        (Outcome::CodeAtTheClient, answer)
    }

    async fn redeem(
        &mut self,
        client: Which,
        code: usize,
        verifier: Verifier,
    ) -> (Outcome, Exchange) {
        let client = self.stage.client(client);
        // Whoever has the code knows where it was sent to.
        let asked_by = self.stage.client(self.state.pages[self.state.codes[code].page].client);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &self.codes[code]),
            ("redirect_uri", &asked_by.redirect_uri),
            ("client_id", &client.id),
            ("resource", self.stage.doorman.resource()),
        ];
        match verifier {
            Verifier::OfPage(page) => form.push(("code_verifier", &self.pages[page].0.verifier)),
            Verifier::Attackers => form.push(("code_verifier", &self.attackers_verifier)),
            Verifier::Missing => {}
        }
        let answer = self.stage.doorman.token(&form).await;
        if answer.status != 200 {
            let error = answer.assert_status(400).json()["error"].as_str().unwrap().to_owned();
            return (Outcome::NoTokens(word(&error)), answer);
        }
        self.tokens.push(answer.tokens().access);
        (Outcome::Tokens, answer)
    }
}

impl Dice {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A step that can be tried now; half of the time one that leads on, or walks would lead nowhere.
    pub fn choose(&mut self, walk: &Walk<'_>) -> Step {
        let (world, state) = (walk.world, &walk.state);
        let mut steps = world.steps(state);
        steps.retain(|step| ROOM.allow(&world.take(state, *step).0));
        if self.below(2) == 0 {
            let on = |step: &Step| world.take(state, *step).0 != *state;
            let on: Vec<_> = steps.iter().copied().filter(on).collect();
            // A walk that has filled its room and spent everything has none.
            if !on.is_empty() {
                steps = on;
            }
        }
        // First which kind of step: there are far more ways to redeem a code than to get one.
        let kinds: BTreeSet<_> = steps.iter().map(|step| step.name()).collect();
        let kinds = Vec::from_iter(kinds);
        let kind = kinds[self.below(kinds.len())];
        steps.retain(|step| step.name() == kind);
        steps[self.below(steps.len())]
    }

    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % count
    }
}

fn stopped(answer: &Exchange) -> Outcome {
    answer.assert_stopped_on_a_page();
    Outcome::StoppedOnAPage
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned()
}

/// An error as the model writes it.
fn word(error: &str) -> &'static str {
    let known = ["server_error", "invalid_grant", "invalid_request"];
    known.into_iter().find(|known| *known == error).unwrap_or("another error")
}

fn person(who: Party) -> Person {
    match who {
        Party::Victim => Person::alice(),
        Party::Attacker => Person {
            sub: called(who),
            email: "mallory@example.com",
            email_verified: true,
            groups: json!([]),
        },
    }
}

fn called(who: Party) -> &'static str {
    match who {
        Party::Victim => Person::alice().sub,
        Party::Attacker => "mallory-66d0",
    }
}

const ROOM: Bounds = Bounds { pages: 3, logins: 3, idp_codes: 4, tokens: 3 };
