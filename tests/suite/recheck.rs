//! Asking the IdP again: who leaves is out within the hour, and an IdP that is down, or that no longer
//! knows us, logs nobody out.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mcp_doorman::policy::AccessEntry;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::doorman::{DAY, Doorman, HOUR, Login, MINUTE};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;

async fn start() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).start().await
}

/// How often the IdP was asked about somebody again.
fn rechecks(doorman: &Doorman) -> usize {
    doorman.idp().refreshes()
}

async fn refresh(doorman: &Doorman, login: &mut Login) -> Exchange {
    let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
    if answer.status == 200 {
        login.tokens = answer.tokens();
    }
    answer
}

#[tokio::test]
async fn a_check_that_is_young_enough_is_not_repeated() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;

    doorman.later(29 * MINUTE);
    let answer = refresh(&doorman, &mut login).await;

    assert_eq!(answer.assert_status(200).json()["expires_in"], 31 * 60 - 5);
    assert_eq!(rechecks(&doorman), 0);
}

/// A check 59 minutes old does not give a leaver two hours.
#[tokio::test]
async fn an_access_token_never_outlives_the_word_of_the_idp() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    let mut seen = 0;

    for _ in 0..5 {
        doorman.later(59 * MINUTE);
        let answer = refresh(&doorman, &mut login).await;
        assert_eq!(answer.assert_status(200).json()["expires_in"], 3595);
        seen += 1;
        assert_eq!(rechecks(&doorman), seen, "the IdP was asked each time");
    }
}

/// RFC 6749 §5.2, OIDC Core §3.1.2.6: what an IdP says of a person who may not go on.
#[tokio::test]
async fn who_leaves_is_out() {
    let mut seen = 0;
    for error in ["invalid_grant", "interaction_required", "login_required", "consent_required"] {
        let doorman = start().await;
        let mut login = doorman.log_in().await;
        doorman.later(31 * MINUTE);
        doorman.call(&login.tokens.access).await.assert_status(200);
        doorman.idp().conduct(Conduct::RefusesRefresh(error));

        refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");

        doorman.call(&login.tokens.access).await.assert_status(401);
        doorman.idp().conduct(Conduct::Honest);
        refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
        seen += 1;
    }
    assert_eq!(seen, 4);
}

/// Whatever else the IdP says is no word about the person: our own client secret may have expired.
#[tokio::test]
async fn an_idp_that_does_not_say_logs_nobody_out() {
    let mut seen = 0;
    for conduct in [
        Conduct::OurSecretExpired,
        Conduct::TokenEndpointFails,
        Conduct::TokenEndpointHangsUp,
        Conduct::TokenEndpointAnswersHtml,
        Conduct::RefusesRefresh("unauthorized_client"),
        Conduct::RefusesRefresh("temporarily_unavailable"),
    ] {
        let doorman = start().await;
        let mut login = doorman.log_in().await;
        doorman.idp().conduct(conduct);

        for _ in 0..12 {
            doorman.later(HOUR);
            let answer = refresh(&doorman, &mut login).await;
            assert_eq!(answer.assert_status(200).json()["expires_in"], 3595, "{conduct:?}");
            doorman.call(&login.tokens.access).await.assert_status(200);
        }
        // 13 h after the IdP's last word nobody goes on, and nobody is logged out.
        doorman.later(HOUR + MINUTE);
        let answer = refresh(&doorman, &mut login).await;
        answer.assert_error(503, "temporarily_unavailable");
        assert!(!answer.header("retry-after").is_empty());
        doorman.call(&login.tokens.access).await.assert_status(401);
        doorman.idp().conduct(Conduct::Honest);
        doorman.later(MINUTE);
        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.call(&login.tokens.access).await.assert_status(200);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// Some IdPs say that of a person who is gone. Their client must not come back for ever.
#[tokio::test]
async fn an_idp_that_is_there_and_does_not_say_ends_the_login_when_the_grace_is_over() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    doorman.idp().conduct(Conduct::RefusesRefresh("invalid_request"));
    for _ in 0..12 {
        doorman.later(HOUR);
        refresh(&doorman, &mut login).await.assert_status(200);
    }
    // Away when the grace ends: that says nothing.
    doorman.later(HOUR + MINUTE);
    doorman.idp().go_down();
    refresh(&doorman, &mut login).await.assert_error(503, "temporarily_unavailable");
    doorman.idp().come_up();
    doorman.later(MINUTE);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");

    doorman.idp().conduct(Conduct::Honest);
    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn an_idp_that_is_down_logs_nobody_out() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    doorman.idp().go_down();

    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);
    doorman.call(&login.tokens.access).await.assert_status(200);
    doorman.idp().come_up();
    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);

    assert_eq!(rechecks(&doorman), 1);
}

/// An error is an answer: somebody is there, and what they say of one person they need not say of another.
#[tokio::test]
async fn an_error_about_one_person_spares_nobody_else_the_question() {
    let mut seen = 0;
    for conduct in [
        Conduct::TokenEndpointFails,
        Conduct::TokenEndpointAnswersHtml,
        Conduct::OurSecretExpired,
        Conduct::RefusesRefresh("temporarily_unavailable"),
        Conduct::BadSignature,
    ] {
        let doorman = start().await;
        let (mut other, mut leaver) = (doorman.log_in().await, doorman.log_in().await);
        doorman.later(40 * MINUTE);
        doorman.idp().conduct(conduct);
        refresh(&doorman, &mut other).await.assert_status(200);
        doorman.idp().conduct(Conduct::RefusesRefresh("invalid_grant"));

        let answer = refresh(&doorman, &mut leaver).await;

        assert_eq!(rechecks(&doorman), 2, "{conduct:?}");
        answer.assert_error(400, "invalid_grant");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

/// Half a day with a grant that the IdP chokes on, whose client asks just before everybody else does.
#[tokio::test]
async fn a_grant_that_the_idp_chokes_on_starves_no_other() {
    let doorman = start().await;
    let (mut broken, mut good) = (doorman.log_in().await, doorman.log_in().await);

    for round in 1..=14 {
        doorman.later(HOUR);
        doorman.idp().conduct(Conduct::TokenEndpointFails);
        refresh(&doorman, &mut broken).await;
        doorman.idp().conduct(Conduct::Honest);
        let answer = refresh(&doorman, &mut good).await;

        assert_eq!(answer.assert_status(200).json()["expires_in"], 3595, "round {round}");
        assert_eq!(rechecks(&doorman), 2 * round);
    }
}

/// Nobody was asked about this person, and the IdP's last word still holds: they get what is left of it.
#[tokio::test]
async fn an_idp_that_was_silent_about_another_lengthens_nothing() {
    let doorman = start().await;
    let (mut other, mut leaver) = (doorman.log_in().await, doorman.log_in().await);
    doorman.later(40 * MINUTE);
    doorman.idp().conduct(Conduct::TokenEndpointHangsUp);
    refresh(&doorman, &mut other).await.assert_status(200);

    let answer = refresh(&doorman, &mut leaver).await;
    assert_eq!(answer.assert_status(200).json()["expires_in"], 20 * 60 - 5);
    assert_eq!(rechecks(&doorman), 1);
    doorman.later(20 * MINUTE);

    doorman.call(&leaver.tokens.access).await.assert_status(401);
    doorman.idp().conduct(Conduct::RefusesRefresh("invalid_grant"));
    refresh(&doorman, &mut leaver).await.assert_error(400, "invalid_grant");
}

/// What is too large to be read is no silence either.
#[tokio::test]
async fn a_huge_answer_about_one_person_spares_nobody_else_the_question() {
    let doorman = start().await;
    let (mut other, mut leaver) = (doorman.log_in().await, doorman.log_in().await);
    doorman.later(40 * MINUTE);
    let groups: Vec<String> = (0..20_000).map(|n| format!("department-{n:06}")).collect();
    doorman.idp().sign_in(Person { groups: json!(groups), ..Person::alice() });
    refresh(&doorman, &mut other).await.assert_status(200);
    doorman.idp().conduct(Conduct::RefusesRefresh("invalid_grant"));

    refresh(&doorman, &mut leaver).await.assert_error(400, "invalid_grant");
}

/// One blip does not hand out a token that nobody asks about for half a day.
#[tokio::test]
async fn what_is_issued_while_the_idp_does_not_say_is_short() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access_lifetime(DAY).start().await;
    let mut login = doorman.log_in().await;
    doorman.later(40 * MINUTE);
    doorman.idp().conduct(Conduct::TokenEndpointFails);

    refresh(&doorman, &mut login).await.assert_status(200);

    doorman.later(HOUR);
    doorman.call(&login.tokens.access).await.assert_status(401);
}

/// A hundred clients that refresh while it is down do not all wait for it.
#[tokio::test]
async fn an_idp_that_just_failed_is_left_alone_for_a_moment() {
    let doorman = start().await;
    let mut logins = Vec::new();
    for _ in 0..5 {
        logins.push(doorman.log_in().await);
    }
    doorman.idp().conduct(Conduct::TokenEndpointHangsUp);
    doorman.later(HOUR);

    for login in &mut logins {
        refresh(&doorman, login).await.assert_status(200);
    }
    assert_eq!(rechecks(&doorman), 1);
    doorman.later(Duration::from_secs(10));
    refresh(&doorman, &mut logins[0]).await.assert_status(200);

    assert_eq!(rechecks(&doorman), 2);
}

#[tokio::test]
async fn refresh_tokens_of_the_idp_may_be_replaced_or_kept() {
    for conduct in [Conduct::Honest, Conduct::KeepsRefreshToken] {
        let doorman = start().await;
        let mut login = doorman.log_in().await;
        doorman.idp().conduct(conduct);

        for _ in 0..4 {
            doorman.later(HOUR);
            refresh(&doorman, &mut login).await.assert_status(200);
        }

        assert_eq!(rechecks(&doorman), 4, "{conduct:?}");
    }
}

/// Three processes of one client refresh at once: a strict IdP is asked once, or it would see its own
/// token a second time.
#[tokio::test]
async fn parallel_refreshes_ask_the_idp_once() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(HOUR);

    let one = || doorman.refresh(&login.client, &login.tokens.refresh);
    let answers = tokio::join!(one(), one(), one());

    for answer in [&answers.0, &answers.1, &answers.2] {
        doorman.call(&answer.tokens().access).await.assert_status(200);
    }
    assert_eq!(rechecks(&doorman), 1);
}

/// Twenty wait for a slow IdP, and the clock is set forward by more than a lease holds.
#[tokio::test]
async fn who_comes_while_the_idp_is_asked_waits_for_the_same_answer() {
    let doorman = Arc::new(start().await);
    let login = doorman.log_in().await;
    doorman.later(40 * MINUTE);
    doorman.idp().hold_refreshes();
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let (doorman, client) = (Arc::clone(&doorman), login.client.clone());
        let token = login.tokens.refresh.clone();
        waiting.spawn(async move { doorman.refresh(&client, &token).await });
    }
    doorman.idp().until_refreshed().await;
    others_are_served(&doorman).await;
    doorman.later(2 * MINUTE);
    others_are_served(&doorman).await;

    doorman.idp().release_refreshes();
    let answers = soon("an answer for everyone", waiting.join_all()).await;

    assert_eq!(answers.len(), 20);
    for answer in answers {
        doorman.call(&answer.tokens().access).await.assert_status(200);
    }
    assert_eq!(rechecks(&doorman), 1);
}

/// Whoever came before these has been served too, or waits.
async fn others_are_served(doorman: &Doorman) {
    for _ in 0..50 {
        doorman.get("/.well-known/oauth-authorization-server").await.assert_status(200);
    }
}

/// What the client is told counts from when it is told.
#[tokio::test]
async fn a_slow_idp_takes_nothing_from_the_time_that_a_client_was_told() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(40 * MINUTE);
    doorman.idp().hold_refreshes();

    let (answer, ()) = tokio::join!(doorman.refresh(&login.client, &login.tokens.refresh), async {
        doorman.idp().until_refreshed().await;
        doorman.later(Duration::from_secs(9));
        doorman.idp().release_refreshes();
    });

    let told = answer.assert_status(200).json()["expires_in"].as_u64().unwrap();
    doorman.later(Duration::from_secs(told));
    doorman.call(&answer.tokens().access).await.assert_status(200);
}

/// Refresh, and hang up as soon as the IdP has spent its old refresh token.
async fn hang_up_while_asked(doorman: &Doorman, login: &Login) {
    doorman.idp().hold_refreshes();
    tokio::select! {
        answer = doorman.refresh(&login.client, &login.tokens.refresh) => panic!("{answer}"),
        () = doorman.idp().until_refreshed() => {}
    }
}

/// The IdP's new refresh token is kept, and nothing stands in the way of the next one who asks.
#[tokio::test]
async fn a_client_that_hangs_up_while_the_idp_is_asked_loses_nothing() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    doorman.later(40 * MINUTE);

    hang_up_while_asked(&doorman, &login).await;
    others_are_served(&doorman).await;
    doorman.idp().release_refreshes();
    let again = refresh(&doorman, &mut login).await;

    assert_eq!(again.assert_status(200).json()["expires_in"], 3595);
    assert_eq!(rechecks(&doorman), 1);
    doorman.later(HOUR);
    let next = refresh(&doorman, &mut login).await;
    assert_eq!(next.assert_status(200).json()["expires_in"], 3595);
    assert_eq!(rechecks(&doorman), 2);
}

/// The same with a process that is to stop: what the IdP is about to say must get into the store.
#[tokio::test]
async fn a_process_that_is_to_stop_waits_for_the_idp() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(40 * MINUTE);
    hang_up_while_asked(&doorman, &login).await;
    let idp = doorman.idp().clone();

    let mut stopping = pin!(doorman.stop());
    let early = timeout(Duration::from_millis(500), &mut stopping).await;
    assert!(early.is_err(), "stopped while the IdP was still answering");
    idp.release_refreshes();

    soon("a stop", stopping).await;
}

/// It is good although the rest of the answer is not: the one before it has been spent.
#[tokio::test]
async fn a_new_refresh_token_beside_an_odd_answer_is_kept() {
    let mut seen = 0;
    for conduct in [Conduct::NoAccessTokenAtRefresh, Conduct::ErrorBesideRefreshToken] {
        let doorman = start().await;
        let mut login = doorman.log_in().await;
        doorman.later(HOUR);
        doorman.idp().conduct(conduct);
        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.idp().conduct(Conduct::Honest);

        doorman.later(HOUR);
        let answer = refresh(&doorman, &mut login).await;

        assert_eq!(answer.assert_status(200).json()["expires_in"], 3595, "{conduct:?}");
        assert_eq!(rechecks(&doorman), 2, "{conduct:?}");
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// The client comes back hours after an answer that it never saw.
#[tokio::test]
async fn a_late_retry_is_checked_too() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(HOUR);
    doorman.refresh(&login.client, &login.tokens.refresh).await.assert_status(200);

    doorman.later(5 * HOUR);
    let again = doorman.refresh(&login.client, &login.tokens.refresh).await;

    assert_eq!(again.assert_status(200).json()["expires_in"], 3595);
    assert_eq!(rechecks(&doorman), 2);
    doorman.idp().conduct(Conduct::RefusesRefresh("invalid_grant"));
    doorman.later(5 * HOUR);
    let late = doorman.refresh(&login.client, &login.tokens.refresh).await;
    late.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn groups_are_read_anew_and_the_rules_are_asked_again() {
    let staff = AccessEntry { groups: vec!["mcp-users".to_owned()], ..AccessEntry::default() };
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access(&[staff]).start().await;
    let mut login = doorman.log_in().await;

    doorman.idp().sign_in(Person { groups: json!(["mcp-users", "new"]), ..Person::alice() });
    doorman.later(HOUR);
    refresh(&doorman, &mut login).await.assert_status(200);
    doorman.call(&login.tokens.access).await.assert_status(200);
    let told = doorman.upstream().only_request();
    doorman.idp().sign_in(Person { groups: json!(["new"]), ..Person::alice() });
    doorman.later(HOUR + MINUTE);
    let refused = refresh(&doorman, &mut login).await;

    assert_eq!(told.values("x-forwarded-groups"), ["mcp-users,new"]);
    refused.assert_error(400, "invalid_grant");
    doorman.call(&login.tokens.access).await.assert_status(401);
}

/// OIDC Core §12.2: `sub` must be the one of the login.
#[tokio::test]
async fn another_person_ends_the_grant() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    doorman.idp().sign_in(Person { sub: "mallory-1", ..Person::alice() });
    doorman.later(40 * MINUTE);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");

    doorman.call(&login.tokens.access).await.assert_status(401);
}

/// OIDC Core §12.2: there might be none. The person stays who they were.
#[tokio::test]
async fn a_refresh_without_id_token_is_a_yes() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;
    doorman.idp().conduct(Conduct::NoIdTokenAtRefresh);
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_status(200);

    doorman.call(&login.tokens.access).await.assert_status(200);
    let told = doorman.upstream().only_request();
    assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"]);
}

/// Claims that nobody checked decide nothing; the IdP's new refresh token is kept all the same.
#[tokio::test]
async fn a_bad_id_token_is_no_word_of_the_idp() {
    for conduct in [Conduct::BadSignature, Conduct::WrongAudience, Conduct::AlgNone] {
        let doorman = start().await;
        let mut login = doorman.log_in().await;
        doorman.idp().conduct(conduct);
        doorman.idp().sign_in(Person { groups: json!(["admins"]), ..Person::alice() });
        doorman.later(HOUR);

        refresh(&doorman, &mut login).await.assert_status(200);
        doorman.call(&login.tokens.access).await.assert_status(200);
        let told = doorman.upstream().only_request();
        doorman.idp().conduct(Conduct::Honest);
        doorman.later(HOUR);
        let next = refresh(&doorman, &mut login).await;

        assert_eq!(told.values("x-forwarded-groups"), ["engineers,mcp-users"], "{conduct:?}");
        next.assert_status(200);
    }
}

#[tokio::test]
async fn without_a_refresh_token_of_the_idp_a_login_lasts_the_grace() {
    let doorman = start().await;
    doorman.idp().conduct(Conduct::NoRefreshToken);
    let mut login = doorman.log_in().await;

    doorman.later(11 * HOUR + 30 * MINUTE);
    let answer = refresh(&doorman, &mut login).await;
    assert_eq!(answer.assert_status(200).json()["expires_in"], 1795);
    doorman.later(30 * MINUTE);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
    assert_eq!(rechecks(&doorman), 0);
}

#[tokio::test]
async fn a_grant_ends_after_its_whole_lifetime_however_often_it_is_refreshed() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).grant_lifetime(DAY).start().await;
    let mut login = doorman.log_in().await;

    for _ in 0..23 {
        doorman.later(HOUR);
        refresh(&doorman, &mut login).await.assert_status(200);
    }
    doorman.later(HOUR);

    refresh(&doorman, &mut login).await.assert_error(400, "invalid_grant");
}

/// Windows keeps 1,280 characters for a whole login: somebody with 500 groups, at an IdP whose refresh
/// tokens are long, fits in.
#[tokio::test]
async fn a_token_answer_fits_into_a_credential_store() {
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).start().await;
    doorman.idp().conduct(Conduct::LongRefreshToken);
    let groups: Vec<String> = (0..500).map(|n| format!("department-{n:04}")).collect();
    doorman.idp().sign_in(Person { groups: json!(groups), ..Person::alice() });
    let mut login = doorman.log_in().await;
    doorman.later(HOUR);

    let answer = refresh(&doorman, &mut login).await;

    answer.assert_status(200);
    assert_eq!(rechecks(&doorman), 1);
    let size = answer.text().len() + login.client.id.len();
    assert!(size < 1200, "{size} characters");
    doorman.call(&login.tokens.access).await.assert_status(200);
    let told = doorman.upstream().only_request();
    assert_eq!(told.values("x-forwarded-groups").join(",").split(',').count(), 500);
}
