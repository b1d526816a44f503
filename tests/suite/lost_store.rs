//! The store forgot, or was another all along: who belongs goes on where the IdP can say so, nobody is let
//! in who was sent away, and nobody is logged out by a mistake of the operator's.

use std::time::Duration;

use mcp_doorman::clock::Timestamp;
use mcp_doorman::config::Config;
use mcp_doorman::policy::AccessEntry;
use mcp_doorman::store::StateSettings;
use serde_json::json;

use crate::support::doorman::{DAY, Doorman, HOUR, Login, MINUTE};
use crate::support::exchange::Exchange;
use crate::support::fake_idp::{Conduct, Person};
use crate::support::fake_mcp_server::FakeMcpServer;

const SECOND: Duration = Duration::from_secs(1);

/// At an IdP that revokes single refresh tokens.
async fn start() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).revocable().start().await
}

/// A new process on an empty store, later than everything that was issued before.
async fn lose_the_store(doorman: Doorman) -> Doorman {
    doorman.later(SECOND);
    doorman.restarted().await
}

async fn refresh(doorman: &Doorman, login: &Login) -> Exchange {
    doorman.refresh(&login.client, &login.tokens.refresh).await
}

#[tokio::test]
async fn a_lost_grant_goes_on_if_the_idp_vouches_for_the_person() {
    let doorman = start().await;
    let login = doorman.log_in().await;

    let doorman = lose_the_store(doorman).await;
    let tokens = refresh(&doorman, &login).await.tokens();

    doorman.call(&tokens.access).await.assert_status(200);
    let again = doorman.refresh(&login.client, &tokens.refresh).await.tokens();
    doorman.call(&again.access).await.assert_status(200);
    assert_eq!(doorman.idp().refreshes(), 1, "asked once, then the row has it");
}

/// The token that the IdP gave in exchange is the one that counts the next time.
#[tokio::test]
async fn a_grant_can_be_lost_more_than_once() {
    let doorman = start().await;
    let mut login = doorman.log_in().await;

    let mut doorman = doorman;
    for lost in 1..=3 {
        doorman = lose_the_store(doorman).await;
        login.tokens = refresh(&doorman, &login).await.tokens();
        assert_eq!(doorman.idp().refreshes(), lost);
    }

    doorman.call(&login.tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn a_lost_grant_ends_if_the_idp_refuses() {
    for error in ["invalid_grant", "login_required"] {
        let doorman = start().await;
        let login = doorman.log_in().await;
        let doorman = lose_the_store(doorman).await;
        doorman.idp().conduct(Conduct::RefusesRefresh(error));

        refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_lost_grant_waits_for_an_idp_that_is_away() {
    for conduct in [Conduct::TokenEndpointFails, Conduct::OurSecretExpired] {
        let doorman = start().await;
        let login = doorman.log_in().await;
        let doorman = lose_the_store(doorman).await;
        doorman.idp().conduct(conduct);

        let waits = refresh(&doorman, &login).await;
        doorman.idp().conduct(Conduct::Honest);
        let goes_on = refresh(&doorman, &login).await;

        waits.assert_error(503, "temporarily_unavailable");
        doorman.call(&goes_on.tokens().access).await.assert_status(200);
    }
}

/// Groups and rules are asked anew: a keepsake says who it was, not what they may.
#[tokio::test]
async fn who_may_no_longer_use_the_resource_is_not_let_in_by_a_loss() {
    let engineers = AccessEntry { groups: vec!["engineers".to_owned()], ..AccessEntry::default() };
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).access(&[engineers]).revocable().start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;
    doorman.idp().sign_in(Person { groups: json!(["sales"]), ..Person::alice() });

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn another_person_inherits_nothing() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;
    doorman.idp().sign_in(Person { sub: "mallory-1111", ..Person::alice() });

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

/// Whom the IdP does not describe can't be judged by the rules.
#[tokio::test]
async fn a_yes_without_a_name_revives_nothing() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;
    doorman.idp().conduct(Conduct::NoIdTokenAtRefresh);

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

/// RFC 7009: what ends here ends at the IdP, so that no loss of the store revives it.
#[tokio::test]
async fn an_ended_grant_stays_ended_when_the_store_is_lost() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);
    assert!(!doorman.idp().takes_a_refresh_token(), "revoked there before we answered");

    let doorman = lose_the_store(doorman).await;

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

/// It is gone here whatever the IdP says; it is told, and tried again.
#[tokio::test]
async fn an_idp_that_revokes_nothing_keeps_no_grant_alive() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.idp().conduct(Conduct::RevocationFails);

    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    doorman.call(&login.tokens.access).await.assert_status(401);
    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
    let told = doorman.log().text();
    assert!(told.contains("was not revoked at the IdP"), "{told}");
}

/// Ended after the loss, by somebody who still has its token.
#[tokio::test]
async fn a_lost_grant_can_be_ended_for_good() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;

    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    assert!(!doorman.idp().takes_a_refresh_token());
    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
    doorman.call(&login.tokens.access).await.assert_status(401);
}

/// By its access token, which carries nothing to tell the IdP with.
#[tokio::test]
async fn a_lost_grant_ends_by_any_token_of_it() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;

    doorman.revoke(&login.client, &login.tokens.access).await.assert_status(200);

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

/// OpenID Connect Back-Channel Logout §2.7: also of logins of which there is no row to be found.
#[tokio::test]
async fn who_logs_out_after_a_loss_is_out() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;

    let token = doorman.idp().logout_token(Person::alice().sub).signed();
    doorman.log_out(&token).await.assert_status(200);

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
    doorman.later(SECOND);
    let next = doorman.log_in().await;
    refresh(&lose_the_store(doorman).await, &next).await.assert_status(200);
}

/// The token that the keepsake has is spent; the one that came with the odd answer is not.
#[tokio::test]
async fn a_new_token_beside_an_odd_answer_is_kept_through_a_loss() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;
    doorman.idp().conduct(Conduct::ErrorBesideRefreshToken);

    let waits = refresh(&doorman, &login).await;
    doorman.idp().conduct(Conduct::Honest);
    let goes_on = refresh(&doorman, &login).await;

    waits.assert_error(503, "temporarily_unavailable");
    doorman.call(&goes_on.tokens().access).await.assert_status(200);
}

/// Where the IdP could not have been told of an end, a lost row is no permission.
#[tokio::test]
async fn without_revocation_at_the_idp_nothing_is_revived() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");

    assert_eq!(doorman.idp().refreshes(), 0);
}

/// The setting was taken back: what was issued before counts no more.
#[tokio::test]
async fn a_keepsake_is_worth_nothing_once_the_idp_is_not_trusted_to_revoke() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(SECOND);
    let doorman =
        doorman.restarted_with(|config| config.idp.revocable_refresh_tokens = false).await;

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");

    assert_eq!(doorman.idp().refreshes(), 0);
}

/// Idle for longer than a refresh token lasts, the row would have gone anyway.
#[tokio::test]
async fn a_loss_lengthens_no_refresh_token() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    doorman.later(14 * DAY + SECOND);
    let doorman = lose_the_store(doorman).await;

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_loss_lengthens_no_grant() {
    let server = FakeMcpServer::start().await;
    let builder = Doorman::in_front_of(server).grant_lifetime(2 * HOUR).revocable();
    let doorman = builder.start().await;
    let mut login = doorman.log_in().await;
    doorman.later(HOUR);
    login.tokens = refresh(&doorman, &login).await.tokens();
    doorman.later(HOUR + SECOND);
    let doorman = lose_the_store(doorman).await;
    let asked = doorman.idp().refreshes();

    refresh(&doorman, &login).await.assert_error(400, "invalid_grant");

    assert_eq!(doorman.idp().refreshes(), asked);
}

/// Parallel refreshes after a loss: the IdP's token is spent once.
#[tokio::test]
async fn a_lost_grant_is_adopted_once() {
    let doorman = start().await;
    let login = doorman.log_in().await;
    let doorman = lose_the_store(doorman).await;

    let (one, two, three) = tokio::join!(
        refresh(&doorman, &login),
        refresh(&doorman, &login),
        refresh(&doorman, &login)
    );

    for answer in [one, two, three] {
        doorman.call(&answer.tokens().access).await.assert_status(200);
    }
    assert_eq!(doorman.idp().refreshes(), 1);
}

/// A keepsake with a token as long as Entra's would not fit into what clients can keep.
#[tokio::test]
async fn a_long_token_of_the_idp_travels_in_no_token_of_ours() {
    let doorman = start().await;
    doorman.idp().conduct(Conduct::LongRefreshToken);
    let groups: Vec<_> = (0..500).map(|n| format!("group-{n:04}-of-a-large-company")).collect();
    doorman.idp().sign_in(Person { groups: json!(groups), ..Person::alice() });
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    let record = answer.body.len() + client.id.len();
    assert!(record < 1200, "{record} bytes");
    doorman.call(&answer.tokens().access).await.assert_status(200);
}

#[tokio::test]
async fn a_short_one_does_within_the_same_bounds() {
    let doorman = start().await;
    let client = doorman.register().await;
    let granted = doorman.authorize(&client).await;

    let answer = doorman.exchange(&client, &granted).await;

    let record = answer.body.len() + client.id.len();
    assert!(record < 1200, "{record} bytes");
    assert!(answer.tokens().refresh.len() <= 500);
}

/// Two replicas, each on its own memory, and a client that meets both.
async fn split() -> (Doorman, Doorman) {
    let first = start().await;
    first.later(SECOND);
    let server = FakeMcpServer::start().await;
    let second = Doorman::in_front_of(server).beside(&first).revocable().start().await;
    (first, second)
}

fn tells_what_to_set(doorman: &Doorman) {
    let told = doorman.log().text();
    assert!(told.contains("state.redis"), "{told}");
}

#[tokio::test]
async fn a_refresh_token_of_another_live_instance_is_no_logout() {
    let (first, second) = split().await;
    let login = second.log_in().await;

    let answer = refresh(&first, &login).await;

    answer.assert_error(503, "temporarily_unavailable");
    tells_what_to_set(&first);
    assert_eq!(first.idp().refreshes(), 0);
    refresh(&second, &login).await.assert_status(200);
}

/// The instance that had no business there was stopped: its clients must not wait for ever.
#[tokio::test]
async fn an_instance_that_is_gone_is_not_waited_for() {
    let (first, second) = split().await;
    let login = second.log_in().await;
    first.later(HOUR + 9 * MINUTE);
    refresh(&first, &login).await.assert_error(503, "temporarily_unavailable");

    first.later(2 * MINUTE);

    // As one whose row was lost.
    refresh(&first, &login).await.assert_status(200);
}

#[tokio::test]
async fn a_code_of_another_live_instance_is_not_refused_for_good() {
    let (first, second) = split().await;
    let client = second.register().await;
    let granted = second.authorize(&client).await;

    let answer = first.exchange(&client, &granted).await;

    answer.assert_error(503, "temporarily_unavailable");
    tells_what_to_set(&first);
    second.exchange(&client, &granted).await.assert_status(200);
}

/// E7: a key was stolen. Whoever signed in since is not disturbed.
#[tokio::test]
async fn what_was_issued_before_the_cut_off_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateSettings::Dir(dir.path().to_owned());
    let server = FakeMcpServer::start().await;
    let doorman = Doorman::in_front_of(server).state(state).revocable().start().await;
    let old = doorman.log_in().await;
    let granted = doorman.authorize(&old.client).await;
    doorman.later(SECOND);
    let now = doorman.now();
    let young = doorman.log_in().await;

    let cut = |config: &mut Config| config.tokens.not_before = Timestamp::from_seconds(now);
    let doorman = doorman.restarted_with(cut).await;

    doorman.call(&old.tokens.access).await.assert_status(401);
    refresh(&doorman, &old).await.assert_error(400, "invalid_grant");
    doorman.exchange(&old.client, &granted).await.assert_error(400, "invalid_grant");
    assert_eq!(doorman.idp().refreshes(), 0, "nothing is adopted either");
    doorman.call(&young.tokens.access).await.assert_status(200);
    let tokens = refresh(&doorman, &young).await.tokens();
    doorman.call(&tokens.access).await.assert_status(200);
}
