//! Sealing keys are rotated, one replica replaced after the other, while people go on working.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mcp_doorman::app::ReloadFault;
use mcp_doorman::store::StateSettings;
use mcp_doorman::telemetry::LogLevel;
use tokio::task::JoinSet;

use crate::servers::{Server, single, soon_async};
use crate::support::doorman::{Doorman, Login, mcp_request, sealing_key};
use crate::support::exchange::{Door, Exchange, Request};
use crate::support::fake_mcp_server::FakeMcpServer;

/// The replicas of one deployment on one Redis, and who sends them requests.
struct Deployment {
    redis: Server,
    upstream: FakeMcpServer,
    replicas: Vec<(Doorman, Arc<Door>)>,
    ingress: Arc<Ingress>,
}

/// Sends each request to the next replica that is in service.
#[derive(Default)]
struct Ingress {
    in_service: Mutex<Vec<Arc<Door>>>,
    turn: AtomicUsize,
    served: AtomicUsize,
}

/// People who call and refresh without a pause, until they are told to stop.
struct Load {
    at_work: JoinSet<Login>,
    is_over: Arc<AtomicBool>,
}

#[tokio::test]
async fn keys_are_rotated_under_load_and_nobody_is_refused() {
    let mut deployment = Deployment::of_three(&["old"]).await;
    let before = deployment.put_to_work().await;

    deployment.roll_to(&["old", "new"]).await;
    let between = deployment.put_to_work().await;
    deployment.roll_to(&["new", "old"]).await;
    // What is issued from here on knows the new key alone.
    let after = deployment.put_to_work().await;
    deployment.served_by_all().await;
    let mut old_logins = before.stop().await;
    old_logins.extend(between.stop().await);
    deployment.roll_to(&["new"]).await;
    let new_logins = after.stop().await;

    assert_eq!((old_logins.len(), new_logins.len()), (2 * PEOPLE, PEOPLE));
    let (doorman, _) = deployment.replicas.first().unwrap();
    for login in old_logins {
        // Sealed with the new key meanwhile, unlike the client's id: config.example.yaml, sealing_keys.
        doorman.call(&login.tokens.access).await.assert_status(200);
        let answer = doorman.refresh(&login.client, &login.tokens.refresh).await;
        answer.assert_error(401, "invalid_client");
    }
}

/// A key in the wrong place, or another one altogether.
#[tokio::test]
async fn a_newcomer_that_would_refuse_good_tokens_is_not_ready_and_says_why() {
    let deployment = Deployment::of_three(&["old"]).await;
    let load = deployment.put_to_work().await;

    for keys in [&["other"][..], &["new"], &["new", "old"]] {
        let newcomer = deployment.start_another(keys).await;
        newcomer.log().line_with("not ready: another replica uses sealing keys").await;

        let ready = newcomer.health().send(Request::get("/readyz")).await;
        ready.assert_status(503);
        assert_eq!(
            ready.text(),
            "waiting for replicas with other sealing keys to go\n",
            "{keys:?}"
        );
        newcomer.health().send(Request::get("/livez")).await.assert_status(200);
        deployment.served_by_all().await;
        for (doorman, _) in &deployment.replicas {
            doorman.health().send(Request::get("/readyz")).await.assert_status(200);
        }
        newcomer.stop().await;
    }

    assert_eq!(load.stop().await.len(), PEOPLE);
}

/// The config and the Secret reach each pod at another moment: who would seal what others can't open yet waits for
/// them.
#[tokio::test]
async fn keys_are_rotated_by_reloads_under_load_and_nobody_is_refused() {
    let deployment = Deployment::of_three(&["old"]).await;
    let load = deployment.put_to_work().await;

    let too_early = deployment.reload(0, &["new", "old"]).await.unwrap_err();
    assert!(matches!(too_early, ReloadFault::AnotherKey), "{too_early}");
    for keys in [["old", "new"], ["new", "old"]] {
        for number in 0..3 {
            deployment.reload(number, &keys).await.unwrap();
            deployment.served_by_all().await;
        }
    }
    let gone = deployment.reload(0, &["old"]).await.unwrap_err();
    assert!(matches!(gone, ReloadFault::KeyGone), "{gone}");

    assert_eq!(load.stop().await.len(), PEOPLE);
    // Who comes now knows that all of them seal with the new one.
    deployment.start_another(&["new"]).await.until_ready().await;
}

impl Deployment {
    async fn reload(&self, number: usize, keys: &[&str]) -> Result<(), ReloadFault> {
        let (doorman, _) = self.replicas.get(number).unwrap();
        let keys = keys.iter().map(|name| sealing_key(name)).collect();
        doorman.reload(|config| config.sealing_keys = keys).await.map(drop)
    }

    async fn of_three(keys: &[&str]) -> Self {
        let (redis, upstream) = (Server::start(&[]), FakeMcpServer::start().await);
        let ingress = Arc::default();
        let mut deployment = Self { redis, upstream, replicas: Vec::new(), ingress };
        for _ in 0..3 {
            let replica = deployment.start_another(keys).await;
            replica.until_ready().await;
            deployment.put_in_service(replica);
        }
        deployment
    }

    async fn start_another(&self, keys: &[&str]) -> Doorman {
        let state = StateSettings::Redis(Box::new(single(&self.redis)));
        let builder = Doorman::in_front_of(self.upstream.clone()).state(state);
        let builder = builder.sealed_with(keys).workers(1).log_level(LogLevel::Info);
        match self.replicas.first() {
            Some((other, _)) => builder.beside(other).start().await,
            None => builder.start().await,
        }
    }

    fn put_in_service(&mut self, replica: Doorman) {
        let door = Arc::new(replica.door());
        self.ingress.in_service.lock().unwrap().push(Arc::clone(&door));
        self.replicas.push((replica, door));
    }

    /// As a rolling update does it: a new one, and when that is ready, an old one less.
    async fn roll_to(&mut self, keys: &[&str]) {
        for _ in 0..3 {
            let new = self.start_another(keys).await;
            new.until_ready().await;
            self.put_in_service(new);
            self.served_by_all().await;

            let (old, door) = self.replicas.remove(0);
            self.ingress.in_service.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &door));
            soon_async("its last request", async || (Arc::strong_count(&door) == 1).then_some(()))
                .await;
            old.stop().await;
            self.served_by_all().await;
        }
    }

    /// Wait until everybody at work has met every replica that is here now.
    async fn served_by_all(&self) {
        let served = || self.ingress.served.load(Ordering::Relaxed);
        let enough = served() + 4 * 3 * PEOPLE * self.replicas.len();
        soon_async("load", async || (served() >= enough).then_some(())).await;
    }

    /// Some people log in, and begin to work.
    async fn put_to_work(&self) -> Load {
        let (mut at_work, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for number in 0..PEOPLE {
            let (doorman, _) = self.replicas.get(number % self.replicas.len()).unwrap();
            let login = doorman.log_in().await;
            at_work.spawn(Arc::clone(&self.ingress).work(login, Arc::clone(&is_over)));
        }
        Load { at_work, is_over }
    }
}

impl Ingress {
    async fn work(self: Arc<Self>, mut login: Login, is_over: Arc<AtomicBool>) -> Login {
        let first = login.tokens.access.clone();
        while !is_over.load(Ordering::Relaxed) {
            let refresh = [
                ("grant_type", "refresh_token"),
                ("refresh_token", &login.tokens.refresh),
                ("client_id", &login.client.id),
            ];
            let request = Request::post("/token").form(&refresh);
            login.tokens = self.send(request).await.tokens();
            // The one that they began with is good for an hour.
            for token in [&login.tokens.access, &first] {
                let request = mcp_request("/mcp").bearer(token);
                self.send(request).await.assert_status(200);
            }
        }
        login
    }

    async fn send(&self, request: Request) -> Exchange {
        let door = {
            let doors = self.in_service.lock().unwrap();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            Arc::clone(doors.get(turn % doors.len()).unwrap())
        };
        let answer = door.send(request).await;
        self.served.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

impl Load {
    /// They finish what they are at. Nobody was refused, or this panics.
    async fn stop(self) -> Vec<Login> {
        self.is_over.store(true, Ordering::Relaxed);
        self.at_work.join_all().await
    }
}

const PEOPLE: usize = 5;
