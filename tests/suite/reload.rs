//! Another config while people are at work: what is new holds for what comes next, nothing under way is cut, and a
//! config that can't be used changes nothing (fault matrix 35, 36).

use std::num::NonZeroUsize;

use mcp_doorman::app::ReloadFault;
use mcp_doorman::clock::{Clock, Timestamp};
use mcp_doorman::config::{IssuedBy, ResourceSettings};
use mcp_doorman::oauth::PublicUrl;
use mcp_doorman::policy::{Access, AccessEntry};
use mcp_doorman::secret::Secret;
use mcp_doorman::store::StateSettings;
use mcp_doorman::telemetry::LogLevel;
use mcp_doorman::wire::UpstreamUrl;

use crate::support::access_token::{IDP_KEY, of_alice, start};
use crate::support::admin::AdminSocket;
use crate::support::doorman::{
    Doorman, HOST, HOUR, MINUTE, RESOURCE, identity, mcp_request, resource_settings, sealing_key,
};
use crate::support::exchange::Request;
use crate::support::fake_idp::{DISCOVERY, FakeIdp};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::soon;
use crate::support::tls_authority::{Clients, TlsAuthority};

async fn usual() -> Doorman {
    Doorman::in_front_of(FakeMcpServer::start().await).start().await
}

fn only(group: &str) -> Access {
    Access::Only(vec![AccessEntry { groups: vec![group.to_owned()], ..AccessEntry::default() }])
}

#[tokio::test]
async fn a_rule_holds_for_the_next_request_of_who_is_in_already() {
    let doorman = usual().await;
    let login = doorman.log_in().await;
    doorman.call(&login.tokens.access).await.assert_status(200);

    doorman.reload(|config| config.resources[0].access = only("nobody")).await.unwrap();

    doorman.call(&login.tokens.access).await.assert_json_rpc_error(403);
    assert_eq!(doorman.upstream().received().len(), 1);

    doorman.reload(|_| {}).await.unwrap();

    doorman.call(&login.tokens.access).await.assert_status(200);
}

/// Fault 36
#[tokio::test]
async fn what_is_under_way_goes_on_by_what_it_began_with() {
    let (doorman, other) = (usual().await, FakeMcpServer::start().await);
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("before");
    stream.until("before").await;

    let url = UpstreamUrl::parse(&other.url("/mcp")).unwrap();
    let change = doorman.reload(|config| config.resources[0].upstream = url);
    change.await.unwrap();

    doorman.call(&token).await.assert_status(200);
    assert_eq!((doorman.upstream().received().len(), other.received().len()), (1, 1));
    feed.event("after");
    stream.until("after").await;
    feed.end();
    assert!(stream.next_bytes().await.is_none(), "a proper end is a proper end");
}

/// A login that a person has begun ends well, whatever was reloaded before they were back from the IdP.
#[tokio::test]
async fn a_login_that_has_begun_ends() {
    let doorman = usual().await;
    let client = doorman.register().await;
    let (browser, authorization) = (doorman.browser(), doorman.authorization(&client));
    let page = browser.open(&authorization.url()).await;
    let at_the_idp = browser.approve(&page).await.location();

    doorman.reload(|config| config.contact = Some("somebody else".to_owned())).await.unwrap();

    let landing = browser.open(at_the_idp.as_str()).await.landing();
    landing.code();
    assert_eq!(landing.parameter("state"), Some(authorization.state.clone()));
}

#[tokio::test]
async fn an_upstream_that_stays_keeps_its_connections() {
    let doorman = Doorman::in_front_of(FakeMcpServer::start().await).workers(1).start().await;
    let token = doorman.log_in().await.tokens.access;
    doorman.call(&token).await.assert_status(200);
    let before = doorman.upstream().connections();

    doorman.reload(|config| config.contact = None).await.unwrap();

    doorman.call(&token).await.assert_status(200);
    assert_eq!(doorman.upstream().connections(), before);
}

/// A key of the server's own was changed, and its authority.
#[tokio::test]
async fn what_the_server_wants_of_us_is_as_the_config_says_now() {
    let (first, second) = (TlsAuthority::new(), TlsAuthority::new());
    let server = FakeMcpServer::start().await;
    let [old, new] = [&first, &second].map(|own| own.signs("localhost").acceptor(Clients::Anybody));
    let (old, new) = (server.also_over_tls(old).await, server.also_over_tls(new).await);
    let reached = |port: u16, authority: &TlsAuthority, key: &str| {
        let header = format!("{{ name: X-Api-Key, value: {{ insecure_inline: {key} }} }}");
        let tls = "upstream_tls: { ca: /ca.pem }";
        let yaml =
            format!("upstream: https://localhost:{port}/mcp, {tls}, upstream_headers: [{header}]");
        resource_settings(RESOURCE, &yaml, &[("/ca.pem", authority.pem())])
    };
    let doorman = Doorman::in_front_of(server.clone()).start().await;
    let token = doorman.log_in().await.tokens.access;

    for (port, authority, key, status) in [
        (old, &first, "one", 200),
        (old, &first, "two", 200),
        (new, &first, "two", 502),
        (new, &second, "two", 200),
    ] {
        let own = reached(port, authority, key);
        let change = doorman.reload(|config| {
            let ResourceSettings { upstream, upstream_tls, upstream_headers, .. } = own;
            let resource = &mut config.resources[0];
            resource.upstream = upstream;
            (resource.upstream_tls, resource.upstream_headers) = (upstream_tls, upstream_headers);
        });
        change.await.unwrap();

        let before = server.received().len();
        doorman.call(&token).await.assert_status(status);
        let received = server.received();
        let keys: Vec<_> = received[before..].iter().map(|one| one.values("x-api-key")).collect();
        let expected = if status == 200 { vec![vec![key]] } else { Vec::new() };
        assert_eq!(keys, expected, "{key}");
    }
}

#[tokio::test]
async fn sealing_keys_are_rotated_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let admin = AdminSocket::in_folder(folder.path());
    let builder = Doorman::in_front_of(FakeMcpServer::start().await).sealed_with(&["old"]);
    let doorman = builder.admin_socket(&folder.path().join("admin.sock")).start().await;
    let login = doorman.log_in().await;
    let [new, old] = ["new", "old"].map(sealing_key);

    let alone = vec![new.clone()];
    let refused = doorman.reload(|config| config.sealing_keys = alone).await;
    assert!(matches!(refused, Err(ReloadFault::KeyGone)), "{refused:?}");
    let both = [new.clone(), old];
    doorman.reload(|config| config.sealing_keys = both.to_vec()).await.unwrap();

    doorman.call(&login.tokens.access).await.assert_status(200);
    let renewed = doorman.refresh(&login.client, &login.tokens.refresh).await.tokens();
    assert_eq!(admin.connections().await.len(), 1);

    doorman.reload(|config| config.sealing_keys = vec![new]).await.unwrap();

    doorman.call(&renewed.access).await.assert_status(200);
    let refused = doorman.call(&login.tokens.access).await;
    assert_eq!(refused.assert_status(401).challenge().parameter("error"), Some("invalid_token"));
    assert_eq!(admin.connections().await.len(), 1);
}

/// A leak: everybody signs in anew, and nobody is cut who has.
#[tokio::test]
async fn tokens_of_before_a_moment_are_refused_from_then_on() {
    let doorman = usual().await;
    let before = doorman.log_in().await.tokens.access;
    doorman.later(HOUR / 2);
    let now = Timestamp::from_seconds(doorman.now());

    doorman.reload(|config| config.tokens.not_before = now).await.unwrap();

    doorman.call(&before).await.assert_status(401);
    let after = doorman.log_in().await.tokens.access;
    doorman.call(&after).await.assert_status(200);
}

/// What was asked for with a token that may be a thief's is cut too.
#[tokio::test]
async fn streams_of_before_that_moment_are_cut() {
    let doorman = usual().await;
    let token = doorman.log_in().await.tokens.access;
    let feed = doorman.upstream().streams_events();
    let mut stream = doorman.door().open(doorman.request(&token)).await;
    feed.event("before");
    stream.until("before").await;
    doorman.later(MINUTE);
    let now = Timestamp::from_seconds(doorman.now());

    doorman.reload(|config| config.tokens.not_before = now).await.unwrap();

    assert!(stream.next_bytes().await.unwrap().is_err(), "it goes on, or looks whole");
}

/// Its access token was issued for an hour, whatever is issued now.
#[tokio::test]
async fn who_is_sent_away_stays_out_though_tokens_last_shorter_now() {
    let doorman = usual().await;
    let login = doorman.log_in().await;
    doorman.reload(|config| config.tokens.access = MINUTE).await.unwrap();

    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);

    doorman.later(20 * MINUTE);
    // When another one ends, those are forgotten that are over.
    let other = doorman.log_in().await;
    doorman.revoke(&other.client, &other.tokens.refresh).await.assert_status(200);
    doorman.call(&login.tokens.access).await.assert_status(401);
}

/// By these everybody knows this server: what else is in the config was made for them.
#[tokio::test]
async fn what_clients_know_us_by_changes_at_a_restart_only() {
    let authority = TlsAuthority::new();
    let signed = authority.signs(HOST);
    let doorman = usual().await;
    let token = doorman.log_in().await.tokens.access;
    let elsewhere = "https://elsewhere.example.com";

    let issuer = doorman.reload(|config| {
        config.issuer = PublicUrl::parse(elsewhere).unwrap();
        config.resources[0].access = only("nobody");
    });
    let issuer = issuer.await.unwrap_err();
    let issued_by = doorman.reload(|config| config.issued_by = IssuedBy::Idp).await.unwrap_err();
    let tls = doorman.reload(|config| config.tls = Some(identity(&signed, &Clock::System)));
    let tls = tls.await.unwrap_err();

    for (refused, key) in [(issuer, "issuer"), (issued_by, "tokens.issued_by"), (tls, "tls")] {
        assert!(matches!(refused, ReloadFault::NeedsRestart { .. }), "{refused}");
        assert!(refused.to_string().starts_with(&format!("{key}: ")), "{refused}");
    }
    doorman.call(&token).await.assert_status(200);
}

/// Redis failed over to an empty server while the config changed: nobody else knows any more who was sent away.
#[tokio::test]
async fn who_was_sent_away_is_told_again_after_a_reload_though_the_store_has_forgotten() {
    let mut builder = Doorman::in_front_of(FakeMcpServer::start().await);
    let store = builder.troubled_store();
    let doorman = builder.start().await;
    doorman.until_ready().await;
    let login = doorman.log_in().await;
    doorman.revoke(&login.client, &login.tokens.refresh).await.assert_status(200);
    // One look may have begun before.
    let enough = store.looks() + 2;
    let looked = async {
        while store.looks() < enough {
            tokio::task::yield_now().await;
        }
    };
    soon("the ending to be read", looked).await;

    store.forget();
    doorman.reload(|config| config.contact = None).await.unwrap();

    let late = Doorman::in_front_of(FakeMcpServer::start().await);
    let late = late.beside(&doorman).sharing(&store).start().await;
    let refused = async {
        while late.call(&login.tokens.access).await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    soon("the ended grant to be refused there", refused).await;
}

/// The secret that we have at the IdP was renewed there.
#[tokio::test]
async fn a_new_client_secret_is_used_at_the_next_login_and_nothing_is_asked_for_again() {
    let doorman = usual().await;
    let login = doorman.log_in().await;
    let asked = doorman.idp().asked(DISCOVERY).len();

    let secret = Secret::new("another".to_owned());
    doorman.reload(|config| config.idp.client_secret = Some(secret)).await.unwrap();

    doorman.call(&login.tokens.access).await.assert_status(200);
    let client = doorman.register().await;
    // The IdP has not heard of it.
    let failed = doorman.browser().log_in(&doorman.authorization(&client).url()).await;
    failed.assert_error(&["server_error"]);
    doorman.reload(|_| {}).await.unwrap();
    doorman.log_in().await;
    assert_eq!(doorman.idp().asked(DISCOVERY).len(), asked);
}

/// An outage of the IdP is no reason to forget its keys.
#[tokio::test]
async fn keys_of_the_idp_stay_known_while_it_is_away() {
    let doorman = start(Doorman::in_front_of(FakeMcpServer::start().await)).await;
    let token = of_alice(&doorman).signed_by(&IDP_KEY);
    doorman.call(&token).await.assert_status(200);
    doorman.idp().go_down();

    let secret = Secret::new("another".to_owned());
    doorman.reload(|config| config.idp.client_secret = Some(secret)).await.unwrap();

    doorman.call(&token).await.assert_status(200);
}

#[tokio::test]
async fn another_idp_that_does_not_answer_is_not_taken_on() {
    let doorman = usual().await;
    doorman.log_in().await;
    let other = FakeIdp::start(Clock::System).await;
    let issuer = other.issuer().to_owned();
    other.go_down();

    let refused = doorman.reload(|config| config.idp.issuer.clone_from(&issuer)).await;

    let fault = refused.unwrap_err();
    assert!(matches!(fault, ReloadFault::Idp(_)), "{fault}");
    assert!(fault.to_string().contains(&issuer), "{fault}");
    doorman.log_in().await;

    other.come_up();
    doorman.reload(|config| config.idp.issuer = issuer).await.unwrap();

    let client = doorman.register().await;
    let page = doorman.browser().open(&doorman.authorization(&client).url()).await;
    page.assert_page(200);
}

#[tokio::test]
async fn what_would_refuse_everybody_is_not_taken_on() {
    let doorman = usual().await;
    let token = doorman.log_in().await.tokens.access;
    let later = Timestamp::from_seconds(doorman.now() + 60);

    let refused = doorman.reload(|config| config.tokens.not_before = later).await;
    refused.unwrap_err();
    let refused = doorman.reload(|config| config.sealing_keys.clear()).await;
    refused.unwrap_err();

    doorman.call(&token).await.assert_status(200);
}

/// Of several things in one config the others still hold.
#[tokio::test]
async fn keys_that_wait_for_a_restart_are_named() {
    let doorman = usual().await;
    let address = doorman.health();
    let token = doorman.log_in().await.tokens.access;

    let left = doorman.reload(|config| {
        config.listen.address.set_port(8);
        config.health.address.set_port(9);
        config.admin_socket = Some("/nowhere/admin.sock".into());
        config.workers = NonZeroUsize::new(7).unwrap();
        config.log.level = LogLevel::Warn;
        config.state = StateSettings::Dir("/nowhere".into());
        config.streams.comment_every = None;
        config.limits.request_body = 1;
        config.stop.finish_within = MINUTE;
        config.resources[0].access = only("nobody");
    });

    let named =
        ["listen", "health", "admin", "workers", "log", "state", "streams", "limits", "stop"];
    assert_eq!(left.await.unwrap(), named);
    doorman.call(&token).await.assert_json_rpc_error(403);
    address.send(Request::get("/readyz")).await.assert_status(200);
    assert!(doorman.reload(|_| {}).await.unwrap().is_empty());
}

/// Before its server has been there once, a pod is not in service.
#[tokio::test]
async fn a_server_that_was_waited_for_is_waited_for_further() {
    let doorman = Doorman::in_front_of(FakeMcpServer::refusing()).start().await;
    let health = doorman.health();
    let unready = async || health.send(Request::get("/readyz")).await.assert_status(503).text();
    let waits = "waiting for the upstream to accept a connection\n";
    let all_else = async {
        while unready().await != waits {
            tokio::task::yield_now().await;
        }
    };
    soon("all else to be there", all_else).await;

    doorman.reload(|config| config.contact = None).await.unwrap();

    assert_eq!(unready().await, waits);
}

#[tokio::test]
async fn resources_come_and_go() {
    let (doorman, other) = (usual().await, FakeMcpServer::start().await);
    let url = "https://tools.example.com/other";
    doorman.send(mcp_request(url)).await.assert_status(404);

    let added = doorman.reload(|config| {
        let mut more = config.resources[0].clone();
        more.url = PublicUrl::parse(url).unwrap();
        more.upstream = UpstreamUrl::parse(&other.url("/mcp")).unwrap();
        config.resources.push(more);
    });
    added.await.unwrap();
    doorman.send(mcp_request(url)).await.assert_status(401);
    doorman.log().line_with("the upstream accepts connections").await;

    doorman.reload(|_| {}).await.unwrap();
    doorman.send(mcp_request(url)).await.assert_status(404);
}
