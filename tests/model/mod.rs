//! A login as a state machine, with an attacker: what can never be reached, what each guard is for, and that
//! the product answers every step as the model with all guards says.

mod explore;
mod login;
mod replay;

use std::collections::BTreeMap;

use crate::model::explore::{Bounds, Explored, explore};
use crate::model::login::{
    Client, Guard, Harm, Outcome, Party, Reads, State, Step, Verifier, World,
};
use crate::model::replay::{Dice, Stage};

/// Enough for every attack that is known: of each thing one of the victim's and one of the attacker's.
const TWO: Bounds = Bounds { pages: 2, logins: 2, idp_codes: 2, tokens: 2 };
const GUARDS: [Guard; 8] = [
    Guard::RedirectUri,
    Guard::ConsentInOneBrowser,
    Guard::FormOnce,
    Guard::CallbackInThatBrowser,
    Guard::CodeOfTheIdpForOneLogin,
    Guard::CodeForOneClient,
    Guard::Pkce,
    Guard::CodeOnce,
];
const ALL_SEEING: World = World {
    without: None,
    reads: &[Reads::UrlsToTheIdp, Reads::UrlsFromTheIdp, Reads::EveryAnswer],
};

fn harms_in(world: World) -> Explored {
    explore(world, TWO, |_, _, _| ())
}

/// Where a way leads, and what its last step brought.
fn walked(world: World, way: &[Step]) -> (State, Outcome) {
    let begin = (State::default(), Outcome::StoppedOnAPage);
    way.iter().fold(begin, |(state, _), step| world.take(&state, *step))
}

/// And in the end: whatever has happened, a victim who is let alone can log in; and what the attacker does
/// on their own side takes no login from the victim that is under way (workers-oauth-provider #225: a wrong
/// request spent the code).
#[test]
fn with_every_guard_the_attacker_gets_nothing_and_the_victim_gets_in() {
    let world = World::default();
    let (mut kept, mut begun) = (0, 0);

    let explored = explore(world, TWO, |state, step, next| {
        let page = next.pages.len();
        let (afresh, _) = world.take(next, victims_own());
        assert!(world.can_finish(afresh, page), "no login after {step:?} in {state:?}");
        begun += 1;
        // Whoever knows its `state` can end a login: the attacker does not know those of the victim.
        let ends_the_victims = matches!(step,
            Step::ComeBack { login, .. } if state.logins[login].browser == Party::Victim);
        if step.is_attackers_alone() && !ends_the_victims {
            for page in state.pages_of_the_victims_client() {
                if world.can_finish(state.clone(), page) {
                    assert!(world.can_finish(next.clone(), page), "{step:?} in {state:?}");
                    kept += 1;
                }
            }
        }
    });

    assert_eq!(explored.found, BTreeMap::new());
    assert!(explored.states > 5_000, "{} states", explored.states);
    assert!(begun > 10_000 && kept > 500, "{begun} {kept}");
}

/// A guard that nothing is reached without is none, or the model does not know what it is for.
#[test]
fn without_any_one_guard_there_is_a_way_to_harm() {
    use Harm::{
        AttackerHasTheVictimsCode, AttackerHasTheVictimsToken, OneYesCountsTwice,
        TokenForAnotherClient, VictimsClientIsLoggedInAsTheAttacker,
    };

    for guard in GUARDS {
        let found: Vec<Harm> = harms_in(World::without(guard)).found.into_keys().collect();
        let expected: &[Harm] = match guard {
            Guard::RedirectUri | Guard::CallbackInThatBrowser => {
                &[AttackerHasTheVictimsCode, AttackerHasTheVictimsToken]
            }
            Guard::ConsentInOneBrowser => &[
                AttackerHasTheVictimsCode,
                AttackerHasTheVictimsToken,
                VictimsClientIsLoggedInAsTheAttacker,
            ],
            Guard::FormOnce | Guard::CodeOnce => &[OneYesCountsTwice],
            Guard::CodeOfTheIdpForOneLogin => &[VictimsClientIsLoggedInAsTheAttacker],
            Guard::CodeForOneClient => &[TokenForAnotherClient],
            Guard::Pkce => &[AttackerHasTheVictimsToken, VictimsClientIsLoggedInAsTheAttacker],
        };
        assert_eq!(found, expected, "without {guard:?}");
    }
}

/// CVE-2026-27124: a consent that was given in one browser let another's login through
#[test]
fn the_model_knows_the_consent_that_was_given_in_another_browser() {
    let (victim, attacker) = (Party::Victim, Party::Attacker);
    let approved_by_the_attacker = [
        Step::Open { browser: attacker, client: Client::Evil, begun_by: attacker, bent: None },
        Step::Approve { browser: attacker, page: 0 },
        Step::SignIn { browser: victim, login: 0 },
        Step::ComeBack { browser: victim, login: 0, idp_code: 0 },
    ];
    let submitted_by_the_victims_browser = [
        approved_by_the_attacker[0],
        Step::Approve { browser: victim, page: 0 },
        approved_by_the_attacker[2],
        approved_by_the_attacker[3],
    ];

    for (guard, way, refused_at) in [
        (Guard::CallbackInThatBrowser, approved_by_the_attacker, 4),
        (Guard::ConsentInOneBrowser, submitted_by_the_victims_browser, 2),
    ] {
        let (reached, _) = walked(World::without(guard), &way);
        assert_eq!(reached.harms(), [Harm::AttackerHasTheVictimsCode], "without {guard:?}");
        let (_, outcome) = walked(World::default(), &way[..refused_at]);
        assert_eq!(outcome, Outcome::StoppedOnAPage, "with {guard:?}");
        let shortest = &harms_in(World::without(guard)).found[&Harm::AttackerHasTheVictimsCode];
        assert_eq!(shortest.len(), way.len(), "{shortest:?}");
    }
}

/// CVE-2025-4144: who left out PKCE at both ends was not asked for it
#[test]
fn the_model_knows_the_login_whose_pkce_was_dropped_at_both_ends() {
    let (victim, attacker) = (Party::Victim, Party::Attacker);
    let (usual, code) = (Client::Usual, 0);
    let read_on_the_victims_machine = [
        victims_own(),
        Step::Approve { browser: victim, page: 0 },
        Step::SignIn { browser: victim, login: 0 },
        Step::ComeBack { browser: victim, login: 0, idp_code: 0 },
        Step::Redeem { by: attacker, client: usual, code, verifier: Verifier::Missing },
    ];
    let slipped_to_the_victims_client = [
        victims_own(),
        Step::Open { browser: attacker, client: usual, begun_by: attacker, bent: None },
        Step::Approve { browser: attacker, page: 1 },
        Step::SignIn { browser: attacker, login: 0 },
        Step::ComeBack { browser: attacker, login: 0, idp_code: 0 },
        Step::Redeem { by: victim, client: usual, code, verifier: Verifier::OfPage(0) },
    ];

    let without = World::without(Guard::Pkce);
    for (way, harm, error) in [
        (&read_on_the_victims_machine[..], Harm::AttackerHasTheVictimsToken, "invalid_request"),
        (
            &slipped_to_the_victims_client[..],
            Harm::VictimsClientIsLoggedInAsTheAttacker,
            "invalid_grant",
        ),
    ] {
        let (reached, _) = walked(without, way);
        assert_eq!(reached.harms(), [harm]);
        let (_, outcome) = walked(World::default(), way);
        assert_eq!(outcome, Outcome::NoTokens(error));
        let shortest = &harms_in(without).found[&harm];
        assert_eq!(shortest.len(), way.len(), "{shortest:?}");
    }
}

/// Where the guards end. RFC 9700 §3: who reads all of that is not an attacker whom OAuth can stop.
#[test]
fn an_attacker_who_reads_the_victims_traffic_is_not_stopped() {
    const CASES: [(&[Reads], &[Harm]); 3] = [
        (&[Reads::UrlsToTheIdp], &[Harm::VictimsClientIsLoggedInAsTheAttacker]),
        (
            &[Reads::UrlsFromTheIdp],
            &[Harm::AttackerHasTheVictimsCode, Harm::AttackerHasTheVictimsToken],
        ),
        (&[Reads::EveryAnswer], &[Harm::AttackerHasTheVictimsToken]),
    ];

    for (reads, expected) in CASES {
        let found = harms_in(World { without: None, reads }).found;
        assert_eq!(found.into_keys().collect::<Vec<_>>(), expected, "{reads:?}");
    }
}

/// Each way that the model finds when a guard is missing is refused by the product, where the model says.
#[tokio::test]
async fn the_product_has_every_guard() {
    let stage = Stage::set().await;
    let mut refused = 0;

    for guard in GUARDS {
        for (harm, way) in harms_in(World::without(guard)).found {
            let mut walk = stage.walk(World::default());
            walk.were_here_before().await;
            for step in way {
                if !walk.take(step).await.is_progress() {
                    refused += 1;
                    break;
                }
            }
            assert!(walk.is_refused(), "without {guard:?} {harm:?}, and with it too");
        }
    }

    assert_eq!(refused, 13);
}

/// The product does at random what the model does: the same page, redirect, error or token at every step, the
/// same person behind every token, and a victim who can log in afterwards.
#[tokio::test]
async fn the_product_answers_every_step_as_the_model_does() {
    let stages = [Stage::set().await, Stage::set().await];
    let lane = async |number: usize| {
        let mut seen = BTreeMap::<(&str, Outcome), usize>::new();
        for walk_number in 0..WALKS {
            let mut dice = Dice::seeded(u64::try_from(number * WALKS + walk_number).unwrap());
            let mut walk = stages[number].walk(ALL_SEEING);
            for _ in 0..STEPS {
                let step = dice.choose(&walk);
                *seen.entry((step.name(), walk.take(step).await)).or_default() += 1;
            }
            walk.end().await;
        }
        seen
    };

    let (mut seen, more) = tokio::join!(lane(0), lane(1));

    for (what, times) in more {
        *seen.entry(what).or_default() += times;
    }
    println!("{seen:#?}");
    for what in [
        ("open", Outcome::ConsentPage),
        ("open", Outcome::StoppedOnAPage),
        ("approve", Outcome::SentToTheIdp),
        ("approve", Outcome::StoppedOnAPage),
        ("sign in", Outcome::BackFromTheIdp),
        ("come back", Outcome::CodeAtTheClient),
        ("come back", Outcome::ErrorAtTheClient("server_error")),
        ("come back", Outcome::StoppedOnAPage),
        ("redeem", Outcome::Tokens),
        ("redeem", Outcome::NoTokens("invalid_grant")),
        ("redeem", Outcome::NoTokens("invalid_request")),
    ] {
        assert!(seen.remove(&what).unwrap_or(0) >= 10, "{what:?} was seldom seen");
    }
    assert_eq!(seen, BTreeMap::new(), "nothing else can happen");
}

/// The victim's client begins a login.
fn victims_own() -> Step {
    let (browser, client) = (Party::Victim, Client::Usual);
    Step::Open { browser, client, begun_by: Party::Victim, bent: None }
}

const WALKS: usize = 100;
const STEPS: usize = 14;
