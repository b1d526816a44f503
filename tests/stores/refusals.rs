//! A server that can't keep state is refused, whenever it is first reached.

use crate::servers::{Server, clock, single, soon_async, store, try_store};
use crate::store::redis::{ConnectFault, Refusal};
use crate::store::{Key, Store as _};

const EVICTING: &[&str] = &["maxmemory 100mb", "maxmemory-policy allkeys-lru"];

#[tokio::test]
async fn a_server_that_may_drop_state_is_refused_unless_allowed() {
    let server = Server::start(EVICTING);
    let mut settings = single(&server);

    let fault = try_store(&settings, &clock()).await.unwrap_err();

    let ConnectFault::Refused(Refusal::MayEvict { policy }) = fault else { panic!("{fault}") };
    assert_eq!(policy, "allkeys-lru");
    settings.allow_eviction = true;
    assert_eq!(store(&settings, &clock()).await.read(&key()).await.unwrap(), None);
}

#[tokio::test]
async fn it_is_refused_too_if_only_config_may_be_asked() {
    let server = Server::start(EVICTING);
    server.say::<()>(&["ACL", "SETUSER", "default", "-info"]);

    assert!(try_store(&single(&server), &clock()).await.is_err());
}

#[tokio::test]
async fn where_nothing_may_be_asked_it_is_used() {
    let server = Server::start(EVICTING);
    server.say::<()>(&["ACL", "SETUSER", "default", "-info", "-config"]);

    assert_eq!(store(&single(&server), &clock()).await.read(&key()).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_comes_late_is_judged_when_it_comes() {
    let mut server = Server::start(EVICTING);
    server.kill();
    let store = store(&single(&server), &clock()).await;
    assert!(store.read(&key()).await.is_err(), "it is not there");

    server.start_again();
    // It takes part only once it may not drop anything any more.
    for _ in 0..20 {
        assert!(store.read(&key()).await.is_err(), "it was used before it was judged");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    server.say::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);

    soon_async("a server that will do now", async || store.read(&key()).await.ok()).await;
}

fn key() -> Key {
    Key::new("k", &[1; 16])
}
