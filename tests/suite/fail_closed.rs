//! Threat A9: whatever befalls those who are asked before somebody is let in, nobody is. Each way in, each question on
//! it, and each way in which that can go wrong: refused as what can't be judged, closed, or left waiting; never 401,
//! which would cost clients their logins; and the MCP server sees nothing.

use std::sync::LazyLock;

use mcp_doorman::idp::Validation;
use mcp_doorman::policy::AccessEntry;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::access_token::{EDITOR, IDP_KEY, of, of_alice, set_of};
use crate::support::assertion::{Assertion, ClientKey};
use crate::support::browser::Browser;
use crate::support::client::Client;
use crate::support::doorman::{Builder, Doorman, HOUR, MINUTE, ORIGIN, RESOURCE, code_form};
use crate::support::exchange::{Exchange, Request};
use crate::support::fake_idp::{Conduct, DISCOVERY, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::Quirks;
use crate::support::soon;
use crate::support::trouble::{IdpTrouble, StoreTrouble, TroubledStore, Verb};

/// What is sent, and how far its sender is in then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The groups don't fit into the token: the grant's row has them.
    CallWithManyGroups,
    /// By a token that the IdP signed, whose keys nobody has asked for yet.
    CallWithJwt,
    /// The same, with a key that was not there when they were asked for.
    CallWithNewKey,
    /// The same where tokens of people are our own.
    CallAsMachine,
    /// By a token that the IdP is asked about, as RFC 7662 says.
    CallWithOpaque,
    CallWithTokeninfo,
    RedeemCode,
    Refresh,
    /// The IdP's last word about the person is old.
    LateRefresh,
    /// It is too old to go on.
    RefreshAfterGrace,
    /// The store has lost the grant.
    Adopt,
    /// A service account that signs.
    ServiceAccount,
    Consent,
    Callback,
    /// The IdP signs who it was with a key that it has just made.
    CallbackWithNewKey,
    /// Who somebody is, userinfo says.
    CallbackWithUserinfo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    Store(Verb, StoreTrouble),
    Idp(&'static str, IdpTrouble),
}

/// Somebody is about to come in.
struct Scene {
    doorman: Doorman,
    store: TroubledStore,
    last_step: Request,
}

static MACHINE_KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::ed25519("machine"));
static NEW_KEY: LazyLock<ClientKey> = LazyLock::new(|| ClientKey::p256("access-2"));
const ROBOT: &str = "robot";
const OPAQUE: &str = "opaque-token";

#[tokio::test]
async fn whatever_befalls_the_store_lets_nobody_in() {
    let places = [
        (Way::CallWithManyGroups, Verb::Read),
        (Way::RedeemCode, Verb::Read),
        (Way::RedeemCode, Verb::Swap),
        (Way::Refresh, Verb::Read),
        (Way::Refresh, Verb::Swap),
        (Way::LateRefresh, Verb::Read),
        (Way::LateRefresh, Verb::Create),
        (Way::LateRefresh, Verb::Swap),
        (Way::Adopt, Verb::Read),
        (Way::Adopt, Verb::Create),
        (Way::ServiceAccount, Verb::Create),
        (Way::Consent, Verb::Create),
        (Way::Callback, Verb::Create),
    ];
    let troubles = [StoreTrouble::Error, StoreTrouble::Panic, StoreTrouble::Silence];
    let each = |(way, verb)| troubles.map(|trouble| (way, Trouble::Store(verb, trouble)));

    let seen = try_all(places.into_iter().flat_map(each)).await;

    assert_eq!(seen, 39);
}

#[tokio::test]
async fn whatever_befalls_the_idp_lets_nobody_in() {
    let places = [
        (Way::CallWithJwt, DISCOVERY),
        (Way::CallWithJwt, "/jwks"),
        (Way::CallWithNewKey, "/jwks"),
        (Way::CallAsMachine, DISCOVERY),
        (Way::CallAsMachine, "/jwks"),
        (Way::CallWithOpaque, DISCOVERY),
        (Way::CallWithOpaque, "/introspect"),
        (Way::CallWithTokeninfo, "/tokeninfo"),
        (Way::RefreshAfterGrace, "/token"),
        (Way::Adopt, "/token"),
        (Way::Callback, "/token"),
        (Way::CallbackWithNewKey, "/jwks"),
        (Way::CallbackWithUserinfo, "/userinfo"),
    ];
    let troubles =
        [IdpTrouble::Error, IdpTrouble::Nonsense, IdpTrouble::Reset, IdpTrouble::Silence];
    let each = |(way, path)| troubles.map(|trouble| (way, Trouble::Idp(path, trouble)));

    let seen = try_all(places.into_iter().flat_map(each)).await;

    assert_eq!(seen, 52);
}

/// One task learns which grants have ended elsewhere, as long as the process lives.
#[tokio::test]
async fn a_store_that_panicked_is_followed_all_the_same() {
    let mut builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let store = builder.troubled_store();
    let doorman = builder.start().await;
    store.in_trouble(Verb::Follow, StoreTrouble::Panic);
    until(|| store.was_met()).await;
    store.recover();
    let elsewhere = Doorman::in_front_of(FakeMcpServer::start().await);
    let elsewhere = elsewhere.beside(&doorman).sharing(&store).start().await;
    let login = elsewhere.log_in().await;
    doorman.call(&login.tokens.access).await.assert_status(200);

    elsewhere.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    let refused = async {
        while doorman.call(&login.tokens.access).await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    soon("the ended grant to be refused here", refused).await;
}

/// Without trouble each way leads in: what keeps everybody out above is the trouble.
#[tokio::test]
async fn without_trouble_each_way_leads_in() {
    let mut seen = 0;
    for way in [
        Way::CallWithManyGroups,
        Way::CallWithJwt,
        Way::CallWithNewKey,
        Way::CallAsMachine,
        Way::CallWithOpaque,
        Way::CallWithTokeninfo,
        Way::RedeemCode,
        Way::Refresh,
        Way::LateRefresh,
        Way::RefreshAfterGrace,
        Way::Adopt,
        Way::ServiceAccount,
        Way::Consent,
        Way::Callback,
        Way::CallbackWithNewKey,
        Way::CallbackWithUserinfo,
    ] {
        let Scene { doorman, last_step, .. } = scene(way, Trouble::None).await;

        let answer = doorman.send(last_step).await;

        assert!(is_in(way, &doorman, &answer).await, "{way:?}\n{answer}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// Returns how many there were.
async fn try_all(cases: impl Iterator<Item = (Way, Trouble)>) -> usize {
    let (mut at_once, mut seen, mut wrong) = (JoinSet::new(), 0, Vec::new());
    for (way, trouble) in cases {
        at_once.spawn(Box::pin(judged(way, trouble)));
    }
    while let Some(judgement) = at_once.join_next().await {
        seen += 1;
        wrong.extend(judgement.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    seen
}

/// What is wrong with how it ended.
async fn judged(way: Way, trouble: Trouble) -> Option<String> {
    let Scene { doorman, store, last_step } = scene(way, trouble).await;
    let asked = |at: &'static str| doorman.idp().asked(at).len();
    let before = match trouble {
        Trouble::Idp(at, kind) if !begins_in_trouble(way) => {
            doorman.idp().in_trouble(at, kind);
            asked(at)
        }
        Trouble::Store(verb, kind) => {
            store.in_trouble(verb, kind);
            0
        }
        Trouble::Idp(..) | Trouble::None => 0,
    };
    let was_met = || match trouble {
        Trouble::None => true,
        Trouble::Store(..) => store.was_met(),
        Trouble::Idp(at, _) => asked(at) > before,
    };

    let door = doorman.door();
    let answer = if is_left_waiting(way, trouble) {
        tokio::select! {
            answer = door.try_send(last_step) => answer,
            () = until(was_met) => None,
        }
    } else {
        door.try_send(last_step).await
    };

    let wrong = match &answer {
        _ if !was_met() => Some("nobody met it"),
        Some(answer) if answer.status == 401 => Some("it was taken for a bad token"),
        Some(answer) if is_in(way, &doorman, answer).await => Some("it led in"),
        Some(answer) if !is_refusal(way, answer) => Some("it is no refusal"),
        Some(_) | None => None,
    };
    let reached = doorman.upstream().received().len();
    (wrong.is_some() || reached > 0).then(|| {
        let answer = answer.map_or_else(|| "closed".to_owned(), |answer| answer.to_string());
        format!("{way:?}, {trouble:?}: {wrong:?}, {reached} requests reached the server\n{answer}")
    })
}

/// Whether the IdP is in trouble before anybody has asked it anything.
fn begins_in_trouble(way: Way) -> bool {
    matches!(way, Way::CallWithJwt | Way::CallAsMachine | Way::CallWithOpaque)
}

/// Whether nobody answers before the test has seen enough: deadlines are a store's own, and the IdP's are longer than a
/// test waits, but for the two seconds after which its keys are given up.
fn is_left_waiting(way: Way, trouble: Trouble) -> bool {
    let waits_for_keys = matches!(way, Way::CallWithJwt | Way::CallWithNewKey | Way::CallAsMachine);
    match trouble {
        // What the IdP said is written again and again, or its new refresh token would be lost.
        Trouble::Store(Verb::Swap, StoreTrouble::Error) if way == Way::LateRefresh => true,
        Trouble::Store(_, kind) => kind == StoreTrouble::Silence,
        Trouble::Idp(_, kind) => kind == IdpTrouble::Silence && !waits_for_keys,
        Trouble::None => false,
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    soon("somebody to meet the trouble", waiting).await;
}

/// Whether who got `answer` is further in: with an answer of the MCP server, a token that gets one, or a login that
/// goes on.
async fn is_in(way: Way, doorman: &Doorman, answer: &Exchange) -> bool {
    let reached = doorman.upstream().received().len();
    if reached > 0 {
        return true;
    }
    match way {
        Way::CallWithManyGroups
        | Way::CallWithJwt
        | Way::CallWithNewKey
        | Way::CallAsMachine
        | Way::CallWithOpaque
        | Way::CallWithTokeninfo => answer.status.is_success(),
        Way::RedeemCode
        | Way::Refresh
        | Way::LateRefresh
        | Way::RefreshAfterGrace
        | Way::Adopt
        | Way::ServiceAccount => match token_in(answer) {
            Some(token) => doorman.call(&token).await.status.is_success(),
            None => false,
        },
        Way::Consent => answer.status.is_redirection(),
        Way::Callback | Way::CallbackWithNewKey | Way::CallbackWithUserinfo => {
            answer.status.is_redirection() && answer.landing().parameter("code").is_some()
        }
    }
}

fn token_in(answer: &Exchange) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["access_token"].as_str().map(str::to_owned)
}

/// Whether it says that nobody could tell, to whom it says so.
fn is_refusal(way: Way, answer: &Exchange) -> bool {
    if token_in(answer).is_some() || answer.headers.contains_key("www-authenticate") {
        return false;
    }
    if answer.status.is_redirection() {
        let error = answer.landing().parameter("error").unwrap_or_default();
        return ["temporarily_unavailable", "server_error"].contains(&error.as_str());
    }
    // An IdP that is there, and does not say yes when the grace is over, has said no.
    let is_no = way == Way::RefreshAfterGrace && answer.status == 400;
    answer.status == 503 || is_no
}

async fn scene(way: Way, trouble: Trouble) -> Scene {
    let mut builder = Doorman::in_front_of(FakeMcpServer::start().await).workers(1);
    let store = builder.troubled_store();
    if let Trouble::Idp(at, kind) = trouble
        && begins_in_trouble(way)
    {
        builder = builder.idp_in_trouble(at, kind);
    }
    let mut doorman = configured(way, builder).start().await;
    let last_step = match way {
        Way::CallWithManyGroups => {
            let groups: Vec<String> = (0..500).map(|n| format!("department-{n:04}")).collect();
            doorman.idp().sign_in(Person { groups: json!(groups), ..Person::alice() });
            let login = doorman.log_in().await;
            doorman.request(&login.tokens.access)
        }
        Way::CallWithJwt => doorman.request(&of_alice(&doorman).signed_by(&IDP_KEY)),
        Way::CallWithNewKey => {
            let usual = of_alice(&doorman).claim("aud", "https://another.example");
            doorman.call(&usual.signed_by(&IDP_KEY)).await.assert_status(401);
            // Not so long that they are asked for unasked.
            doorman.later(MINUTE);
            doorman.idp().publish_keys(200, set_of(&[&IDP_KEY, &NEW_KEY]));
            let token = of_alice(&doorman).head("alg", "ES256").head("kid", NEW_KEY.kid);
            doorman.request(&token.signed_by(&NEW_KEY))
        }
        Way::CallAsMachine => {
            let token = of(doorman.idp(), ROBOT, doorman.now()).claim("client_id", ROBOT);
            let token = token.claim("aud", ORIGIN).without_claim("groups");
            doorman.request(&token.signed_by(&IDP_KEY))
        }
        Way::CallWithOpaque | Way::CallWithTokeninfo => {
            let audience = if way == Way::CallWithTokeninfo { EDITOR } else { RESOURCE };
            doorman.idp().introspection().say(OPAQUE, alice(&doorman, audience));
            doorman.request(OPAQUE)
        }
        Way::RedeemCode => {
            let client = doorman.register().await;
            let granted = doorman.authorize(&client).await;
            token_request(&code_form(&client, &granted, RESOURCE))
        }
        Way::Refresh | Way::LateRefresh | Way::RefreshAfterGrace | Way::Adopt => {
            let login = doorman.log_in().await;
            if way != Way::Refresh {
                doorman.later(if way == Way::RefreshAfterGrace { 14 * HOUR } else { HOUR });
            }
            if way == Way::Adopt {
                store.forget();
                doorman = doorman.restarted().await;
            }
            refresh_request(&login.client, &login.tokens.refresh)
        }
        Way::ServiceAccount => {
            let assertion = Assertion::of("signer", &MACHINE_KEY, ORIGIN, doorman.now());
            token_request(&[
                ("grant_type", "client_credentials"),
                ("resource", RESOURCE),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", &assertion.signed_by(&MACHINE_KEY)),
            ])
        }
        Way::Consent => {
            let (browser, client) = (doorman.browser(), doorman.register().await);
            let page = browser.open(&doorman.authorization(&client).url()).await;
            let form = page.form();
            let fields = form.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let fields: Vec<_> = fields.chain([("decision", "approve")]).collect();
            let request = Request::post(form.action.as_str()).header("origin", ORIGIN);
            let request = request.header("sec-fetch-site", "same-origin");
            request.header("cookie", &cookies(&browser)).form(&fields)
        }
        Way::Callback | Way::CallbackWithNewKey | Way::CallbackWithUserinfo => {
            if way == Way::CallbackWithNewKey {
                // Its keys are known, and may be asked for again.
                doorman.log_in().await;
                doorman.later(MINUTE);
                doorman.idp().conduct(Conduct::NewKey);
            }
            let (browser, client) = (doorman.browser(), doorman.register().await);
            let callback = browser.up_to_the_callback(&doorman.authorization(&client).url()).await;
            Request::get(&callback).header("cookie", &cookies(&browser))
        }
    };
    Scene { doorman, store, last_step }
}

fn configured(way: Way, builder: Builder) -> Builder {
    let idp_keys = || set_of(&[&IDP_KEY]);
    match way {
        Way::CallWithJwt | Way::CallWithNewKey => {
            builder.issued_by_the_idp().keys_of_the_idp(idp_keys())
        }
        Way::CallAsMachine => {
            let entry = AccessEntry { clients: vec![ROBOT.to_owned()], ..AccessEntry::default() };
            builder.machines(ORIGIN, &[ROBOT]).access(&[entry]).keys_of_the_idp(idp_keys())
        }
        Way::CallWithOpaque => builder
            .issued_by_the_idp()
            .access_tokens(|own| own.validation = Validation::JwtOrIntrospection)
            .keys_of_the_idp(idp_keys()),
        Way::CallWithTokeninfo => builder
            .issued_by_the_idp()
            .audience(RESOURCE, RESOURCE, &[EDITOR])
            .logging_in_at(
                Quirks::default(),
                "  issuer: ORIGIN\n  access_token_validation: tokeninfo\n  endpoints: { tokeninfo: ORIGIN/tokeninfo }",
            ),
        Way::Adopt => builder.revocable(),
        Way::ServiceAccount => builder.declaring(
            "  - { id: app, name: App, redirect_uris: [\"https://app.example/cb\"], secret: { insecure_inline: canary-secret-0123456789-0123456789 } }\n\
             service_accounts:\n  - { id: signer, keys: { file: /jwks.json } }\n",
            &json!({ "keys": [MACHINE_KEY.jwk()] }),
        ),
        Way::CallbackWithUserinfo => {
            builder.logging_in_at(Quirks::default(), "  issuer: ORIGIN\n  identity: userinfo")
        }
        Way::CallWithManyGroups
        | Way::RedeemCode
        | Way::Refresh
        | Way::LateRefresh
        | Way::RefreshAfterGrace
        | Way::Consent
        | Way::Callback
        | Way::CallbackWithNewKey => builder,
    }
}

/// What the IdP says of her token.
fn alice(doorman: &Doorman, audience: &str) -> String {
    let now = doorman.now();
    let known = json!({
        "active": true,
        "iss": doorman.idp().issuer(),
        "sub": Person::alice().sub,
        "aud": audience,
        "azp": EDITOR,
        "client_id": EDITOR,
        "scope": "tools:read tools:write",
        "iat": now,
        "exp": now + 3600,
    });
    known.to_string()
}

fn token_request(form: &[(&str, &str)]) -> Request {
    Request::post("/token").form(form)
}

fn refresh_request(client: &Client, token: &str) -> Request {
    token_request(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", &client.id),
    ])
}

fn cookies(browser: &Browser) -> String {
    let pairs =
        browser.cookies().into_iter().map(|cookie| format!("{}={}", cookie.name, cookie.value));
    pairs.collect::<Vec<_>>().join("; ")
}
