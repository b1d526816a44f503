//! The model: what the browsers, the clients and the IdP of a login can do, in what order they like, and what
//! follows. Guards are switches, so that it can be asked what each is for.
//!
//! The attacker knows everything that goes through their own browser or to their client, reads the answers
//! to logins that the victim's client began, and makes the victim's browser open or submit what they like.

/// Whose a browser is. The IdP knows its owner, and signs them in unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    Victim,
    Attacker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// The one that people use, on their own machines. Its id is no secret: the attacker has it too.
    Usual,
    /// The one that the attacker registered, and that is answered at their server.
    Evil,
}

/// What stands in the way. The product has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The redirect URI is one that the client registered (OAuth 2.1 §2.3.1).
    RedirectUri,
    /// A form counts only in the browser that it was shown to.
    ConsentInOneBrowser,
    /// A form counts once.
    FormOnce,
    /// A login ends only in the browser that it was approved in, once.
    CallbackInThatBrowser,
    /// The IdP's code is only good for the login that it was given for (PKCE and nonce there).
    CodeOfTheIdpForOneLogin,
    /// A code is only good for the client that it was issued to (RFC 6749 §4.1.3).
    CodeForOneClient,
    /// No login without a challenge, no tokens without its verifier (OAuth 2.1 §4.1.1, §4.1.3).
    Pkce,
    /// A code works once (RFC 6749 §10.5).
    CodeOnce,
}

/// What the attacker might read besides, and is not taken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Where the victim's browser is sent to log in.
    UrlsToTheIdp,
    /// Where the IdP sends the victim's browser back to.
    UrlsFromTheIdp,
    /// What the usual client is answered on the victim's machine, whoever began.
    EveryAnswer,
}

/// In which the steps are taken: with all guards but one, against an attacker who may read more.
#[derive(Clone, Copy, Debug, Default)]
pub struct World {
    pub without: Option<Guard>,
    pub reads: &'static [Reads],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// An authorization request that `begun_by` made is opened in a browser.
    Open { browser: Party, client: Client, begun_by: Party, bent: Option<Bent> },
    /// The form of a page is submitted from a browser.
    Approve { browser: Party, page: usize },
    /// A browser goes to the IdP with the `state` of a login, and gets a code of the IdP.
    SignIn { browser: Party, login: usize },
    /// A browser comes back with the `state` of a login and some code of the IdP.
    ComeBack { browser: Party, login: usize, idp_code: usize },
    /// A token request, by the victim's client or by the attacker.
    Redeem { by: Party, client: Client, code: usize, verifier: Verifier },
}

/// What is wrong with an authorization request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bent {
    /// It is to be answered at the attacker's server.
    RedirectUri,
    NoChallenge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verifier {
    /// The one that the victim's client made for this page.
    OfPage(usize),
    Attackers,
    Missing,
}

/// What whoever took the step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    ConsentPage,
    /// The browser goes nowhere.
    StoppedOnAPage,
    SentToTheIdp,
    BackFromTheIdp,
    CodeAtTheClient,
    ErrorAtTheClient(&'static str),
    Tokens,
    NoTokens(&'static str),
}

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Harm {
    /// Without the victim's yes to the attacker's client, on this page.
    AttackerHasTheVictimsCode,
    AttackerHasTheVictimsToken,
    /// Login CSRF: what the victim then does, the attacker sees.
    VictimsClientIsLoggedInAsTheAttacker,
    TokenForAnotherClient,
    OneYesCountsTwice,
}

/// Everything that exists. Things are named by their place in these lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub pages: Vec<Page>,
    pub logins: Vec<Login>,
    pub idp_codes: Vec<IdpCode>,
    pub codes: Vec<Code>,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    pub client: Client,
    pub begun_by: Party,
    pub bent: Option<Bent>,
    pub shown_in: Party,
    pub approvals: u8,
    /// Read and approved by the victim, not submitted by somebody else's doing.
    pub has_victims_yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    pub page: usize,
    pub browser: Party,
    pub is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdpCode {
    pub login: usize,
    pub person: Party,
    pub is_spent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub page: usize,
    pub person: Party,
    /// Whose client it was sent to.
    pub sent_to: Party,
    pub redemptions: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub code: usize,
    pub client: Client,
    pub holder: Party,
}

impl World {
    pub fn without(guard: Guard) -> Self {
        Self { without: Some(guard), reads: &[] }
    }

    fn has(self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    fn reads(self, what: Reads) -> bool {
        self.reads.contains(&what)
    }

    /// What follows from `step`.
    pub fn take(self, state: &State, step: Step) -> (State, Outcome) {
        let mut next = state.clone();
        let outcome = match step {
            Step::Open { browser, client, begun_by, bent } => {
                self.open(&mut next, browser, client, begun_by, bent)
            }
            Step::Approve { browser, page } => self.approve(&mut next, browser, page),
            Step::SignIn { browser, login } => {
                next.idp_codes.push(IdpCode { login, person: browser, is_spent: false });
                Outcome::BackFromTheIdp
            }
            Step::ComeBack { browser, login, idp_code } => {
                self.come_back(&mut next, browser, login, idp_code)
            }
            Step::Redeem { by, client, code, verifier } => {
                self.redeem(&mut next, by, client, code, verifier)
            }
        };
        (next, outcome)
    }

    fn open(
        self,
        state: &mut State,
        browser: Party,
        client: Client,
        begun_by: Party,
        bent: Option<Bent>,
    ) -> Outcome {
        let is_refused = match bent {
            Some(Bent::RedirectUri) => self.has(Guard::RedirectUri),
            Some(Bent::NoChallenge) => self.has(Guard::Pkce),
            None => false,
        };
        if is_refused {
            return Outcome::StoppedOnAPage;
        }
        let (approvals, has_victims_yes) = (0, false);
        let page = Page { client, begun_by, bent, shown_in: browser, approvals, has_victims_yes };
        state.pages.push(page);
        Outcome::ConsentPage
    }

    fn approve(self, state: &mut State, browser: Party, page: usize) -> Outcome {
        let form = &mut state.pages[page];
        let is_anothers = form.shown_in != browser && self.has(Guard::ConsentInOneBrowser);
        let is_spent = form.approvals > 0 && self.has(Guard::FormOnce);
        if is_anothers || is_spent {
            return Outcome::StoppedOnAPage;
        }
        form.approvals += 1;
        form.has_victims_yes |= (form.shown_in, browser) == (Party::Victim, Party::Victim);
        state.logins.push(Login { page, browser, is_over: false });
        Outcome::SentToTheIdp
    }

    fn come_back(self, state: &mut State, browser: Party, login: usize, code: usize) -> Outcome {
        let Login { page, browser: begun_in, is_over } = state.logins[login];
        // However it ends.
        state.logins[login].is_over = true;
        let is_anothers = begun_in != browser && self.has(Guard::CallbackInThatBrowser);
        if is_over || is_anothers {
            return Outcome::StoppedOnAPage;
        }
        let IdpCode { login: given_for, person, is_spent } = state.idp_codes[code];
        state.idp_codes[code].is_spent = true;
        let is_of_another = given_for != login && self.has(Guard::CodeOfTheIdpForOneLogin);
        if is_spent || is_of_another {
            return Outcome::ErrorAtTheClient("server_error");
        }
        let Page { client, bent, .. } = state.pages[page];
        let sent_to = match (client, bent) {
            (Client::Evil, _) | (_, Some(Bent::RedirectUri)) => Party::Attacker,
            // To the machine that the browser runs on.
            (Client::Usual, _) => browser,
        };
        state.codes.push(Code { page, person, sent_to, redemptions: 0 });
        Outcome::CodeAtTheClient
    }

    fn redeem(
        self,
        state: &mut State,
        by: Party,
        client: Client,
        code: usize,
        verifier: Verifier,
    ) -> Outcome {
        let Code { page, redemptions, .. } = state.codes[code];
        if state.pages[page].client != client && self.has(Guard::CodeForOneClient) {
            return Outcome::NoTokens("invalid_grant");
        }
        if self.has(Guard::Pkce) {
            if verifier == Verifier::Missing {
                return Outcome::NoTokens("invalid_request");
            }
            if verifier != state.verifier_of(page) {
                return Outcome::NoTokens("invalid_grant");
            }
        }
        // A second use ends what the first one bought.
        state.codes[code].redemptions = (redemptions + 1).min(2);
        if redemptions > 0 && self.has(Guard::CodeOnce) {
            return Outcome::NoTokens("invalid_grant");
        }
        state.tokens.push(Token { code, client, holder: by });
        Outcome::Tokens
    }

    /// Every step that can be tried, those too that will be refused.
    pub fn steps(self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        Self::openings(&mut steps);
        for browser in PARTIES {
            steps.extend((0..state.pages.len()).map(|page| Step::Approve { browser, page }));
            for (login, begun) in state.logins.iter().enumerate() {
                let reads_it = self.reads(Reads::UrlsToTheIdp);
                if knows(browser, begun.browser) || reads_it {
                    steps.push(Step::SignIn { browser, login });
                }
                let reads_them = self.reads(Reads::UrlsFromTheIdp);
                for (idp_code, code) in state.idp_codes.iter().enumerate() {
                    if knows(browser, code.person) || reads_them {
                        steps.push(Step::ComeBack { browser, login, idp_code });
                    }
                }
            }
        }
        for code in 0..state.codes.len() {
            self.redemptions(state, code, &mut steps);
        }
        steps
    }

    fn openings(steps: &mut Vec<Step>) {
        let (usual, by_attacker) = (Client::Usual, Party::Attacker);
        let victims = Step::Open {
            browser: Party::Victim,
            client: usual,
            begun_by: Party::Victim,
            bent: None,
        };
        steps.push(victims);
        for browser in PARTIES {
            for (client, bent) in [
                (usual, None),
                (usual, Some(Bent::RedirectUri)),
                (usual, Some(Bent::NoChallenge)),
                (Client::Evil, None),
            ] {
                steps.push(Step::Open { browser, client, begun_by: by_attacker, bent });
            }
        }
    }

    fn redemptions(self, state: &State, code: usize, steps: &mut Vec<Step>) {
        let Code { page, sent_to, .. } = state.codes[code];
        // The victim's client takes what its redirect URI is opened with, while it waits for an answer.
        for (page, begun) in state.pages.iter().enumerate() {
            if begun.begun_by == Party::Victim {
                let (client, verifier) = (Client::Usual, Verifier::OfPage(page));
                steps.push(Step::Redeem { by: Party::Victim, client, code, verifier });
            }
        }
        let is_read = sent_to == Party::Attacker
            || state.pages[page].begun_by == Party::Victim
            || self.reads(Reads::EveryAnswer);
        if is_read {
            for client in [Client::Usual, Client::Evil] {
                for verifier in [Verifier::Attackers, Verifier::Missing] {
                    steps.push(Step::Redeem { by: Party::Attacker, client, code, verifier });
                }
            }
        }
    }

    /// Nobody disturbs: can the victim, from here, take the login that this page began to its end?
    pub fn can_finish(self, mut state: State, page: usize) -> bool {
        let victim = Party::Victim;
        if state.pages[page].approvals == 0 {
            state = self.take(&state, Step::Approve { browser: victim, page }).0;
        }
        let open = |login: &Login| login.page == page && !login.is_over;
        if let Some(login) = state.logins.iter().position(open) {
            let idp_code = state.idp_codes.len();
            state = self.take(&state, Step::SignIn { browser: victim, login }).0;
            state = self.take(&state, Step::ComeBack { browser: victim, login, idp_code }).0;
        }
        let unspent = |code: &Code| code.page == page && code.redemptions == 0;
        if let Some(code) = state.codes.iter().position(unspent) {
            let (client, verifier) = (Client::Usual, Verifier::OfPage(page));
            state = self.take(&state, Step::Redeem { by: victim, client, code, verifier }).0;
        }
        state.tokens.iter().any(|token| {
            let code = state.codes[token.code];
            code.page == page
                && code.person == victim
                && token.holder == victim
                && !state.is_ended(token)
        })
    }
}

impl State {
    /// Of the challenge that a page was asked for with.
    fn verifier_of(&self, page: usize) -> Verifier {
        match self.pages[page].begun_by {
            Party::Victim => Verifier::OfPage(page),
            Party::Attacker => Verifier::Attackers,
        }
    }

    pub fn pages_of_the_victims_client(&self) -> impl Iterator<Item = usize> {
        let pages = self.pages.iter().enumerate();
        pages.filter(|(_, page)| page.begun_by == Party::Victim).map(|(number, _)| number)
    }

    pub fn is_ended(&self, token: &Token) -> bool {
        self.codes[token.code].redemptions > 1
    }

    pub fn harms(&self) -> Vec<Harm> {
        let is_theft = |code: &Code| {
            let page = self.pages[code.page];
            let is_allowed = page.client == Client::Evil && page.has_victims_yes;
            code.person == Party::Victim && !is_allowed
        };
        let mut harms = Vec::new();
        for (number, code) in self.codes.iter().enumerate() {
            if code.sent_to == Party::Attacker && is_theft(code) {
                harms.push(Harm::AttackerHasTheVictimsCode);
            }
            let tokens = self.tokens.iter().filter(|token| token.code == number).count();
            let of_same_page = self.codes.iter().filter(|other| other.page == code.page).count();
            if tokens > 1 || of_same_page > 1 {
                harms.push(Harm::OneYesCountsTwice);
            }
        }
        for token in &self.tokens {
            let code = self.codes[token.code];
            if token.holder == Party::Attacker && is_theft(&code) {
                harms.push(Harm::AttackerHasTheVictimsToken);
            }
            if (token.holder, code.person) == (Party::Victim, Party::Attacker) {
                harms.push(Harm::VictimsClientIsLoggedInAsTheAttacker);
            }
            if token.client != self.pages[code.page].client {
                harms.push(Harm::TokenForAnotherClient);
            }
        }
        harms
    }
}

impl Outcome {
    /// Whether anything came of the step.
    pub fn is_progress(self) -> bool {
        match self {
            Self::ConsentPage
            | Self::SentToTheIdp
            | Self::BackFromTheIdp
            | Self::CodeAtTheClient
            | Self::Tokens => true,
            Self::StoppedOnAPage | Self::ErrorAtTheClient(_) | Self::NoTokens(_) => false,
        }
    }
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Approve { .. } => "approve",
            Self::SignIn { .. } => "sign in",
            Self::ComeBack { .. } => "come back",
            Self::Redeem { .. } => "redeem",
        }
    }

    /// Whether the attacker takes it by themselves, without the victim's browser or client.
    pub fn is_attackers_alone(self) -> bool {
        match self {
            Self::Open { browser, .. }
            | Self::Approve { browser, .. }
            | Self::SignIn { browser, .. }
            | Self::ComeBack { browser, .. } => browser == Party::Attacker,
            Self::Redeem { by, .. } => by == Party::Attacker,
        }
    }
}

/// Can a URL that went through the browser of `whose` be opened in `browser`? The attacker shows theirs around.
fn knows(browser: Party, whose: Party) -> bool {
    browser == whose || whose == Party::Attacker
}

const PARTIES: [Party; 2] = [Party::Victim, Party::Attacker];
