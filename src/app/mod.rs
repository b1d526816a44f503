//! From a checked `Config` to a running process: builds the collaborators, starts the workers, stops them.

mod announcement;
mod background;
mod build;
mod certificate;
mod lasting;
pub mod memory;
mod reload;
pub mod stop;

use std::convert::Infallible;
use std::future::pending;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;

use crate::admin::control::Control;
use crate::admin::draining::Draining;
use crate::admin::health::{self, Readiness};
use crate::admin::socket::{self, Socket};
use crate::authorization_server::{BACKCHANNEL_LOGOUT, CALLBACK, endpoint};
use crate::chance::{Chance, NoEntropy};
use crate::clock::Clock;
use crate::config::{Config, ConnectionLimit};
use crate::outbound::Internet;
use crate::outbound::idp::NoConnection;
use crate::pages::BrokenTemplate;
use crate::protected_resource::NotReady;
use crate::proxy::{OddAnswers, Streams, Upstream};
use crate::router::Front;
use crate::seal::SealFault;
use crate::server::{self, DrainSettings, Drained, Listener, Peers, WorkerSettings, descriptors};
use crate::store::{StateFault, Store};
use crate::tls::{Acceptor, TlsFault};

use crate::app::memory::Memory;
use build::{Derived, Estate};
use lasting::Lasting;
pub use reload::ReloadFault;
use reload::Serving;

/// What a process takes from outside besides its config.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub clock: Clock,
    pub chance: Chance,
    pub log: Dispatch,
    /// How strangers are reached, whom the operator did not name.
    pub internet: Internet,
    /// How much of it we may have, and have.
    pub memory: Memory,
    /// In place of the store that the config names.
    pub store: Option<Arc<dyn Store>>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    #[error("listen: {0}")]
    Listen(server::StartFault),
    #[error("health.listen: {0}")]
    HealthListen(server::StartFault),
    #[error("tls: {0}")]
    Tls(#[from] TlsFault),
    #[error("admin.socket: {0}")]
    AdminSocket(#[from] socket::BindFault),
    #[error("can't prepare connections to the outside: {0}")]
    Connection(#[from] NoConnection),
    #[error("state: {0}")]
    State(#[from] StateFault),
    #[error(
        "tokens.not_before: lies in the future, so every token would be refused until then; set it to now or earlier"
    )]
    NotBefore,
    #[error("can't use the sealing keys: {0}")]
    Keys(#[from] SealFault),
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    #[error(transparent)]
    Page(#[from] BrokenTemplate),
    #[error(transparent)]
    Resource(#[from] NotReady),
}

/// A started process.
#[derive(Debug)]
pub struct Running {
    public: server::Running,
    health: server::Running,
    control: Arc<Control>,
    readiness: Arc<Readiness>,
    front: Arc<Front>,
    peers: Peers,
    estate: Estate,
    /// Boxed, so that who holds a process holds little.
    serving: Mutex<Box<Serving>>,
    log: Dispatch,
    stop: DrainSettings,
    background: Vec<Lasting>,
    is_stopping: AtomicBool,
}

/// Where a process can be reached.
#[derive(Debug)]
pub struct Listeners {
    pub public: Listener,
    pub health: Listener,
    pub admin: Option<Socket>,
}

impl Listeners {
    /// To be called inside the runtime that will accept.
    pub async fn bind(config: &Config, chance: Chance) -> Result<Self, StartFault> {
        let public = Listener::bind(config.listen).map_err(StartFault::Listen)?;
        let health = Listener::bind(config.health).map_err(StartFault::HealthListen)?;
        let admin = match &config.admin_socket {
            Some(path) => Some(Socket::bind(path, chance).await?),
            None => None,
        };
        Ok(Self { public, health, admin })
    }
}

/// Listen and begin to answer. The IdP and the upstreams may be down: who has a token is served, logins
/// wait.
///
/// Background tasks run on the runtime that calls this; requests on threads of their own.
pub async fn start(config: Config, surroundings: Surroundings) -> Result<Running, StartFault> {
    let listeners = Listeners::bind(&config, surroundings.chance).await?;
    start_on(listeners, config, surroundings).await
}

/// The same on ports that are ours already, whatever the config says of them.
pub async fn start_on(
    listeners: Listeners,
    config: Config,
    surroundings: Surroundings,
) -> Result<Running, StartFault> {
    let log = surroundings.log.clone();
    let _guard = tracing::dispatcher::set_default(&log);
    let ring = build::ring(&config)?;
    let estate = Estate::of(&config, &ring, &surroundings).await?;
    let Derived { routes, parts, seen } = build::derive(config, ring, &estate, None)?;
    let Surroundings { clock, chance, memory, .. } = surroundings;
    let front = Arc::new(Front::new(routes, clock, chance)?);
    let config = &parts.config;
    let open_files = descriptors::raise();
    let peers = peers(config, open_files);
    let readiness = Arc::new(Readiness::default());
    let streams = &estate.streams;
    let public =
        serve_public(listeners.public, config, peers.clone(), Arc::clone(&front), streams, &log)?;
    let health = serve_health(listeners.health, &readiness, &log)?;
    let (replica, ready) = (estate.replica.clone(), Arc::clone(&readiness));
    let background = vec![
        Lasting::begin("watch_memory", &log, (memory, Arc::clone(streams)), |(memory, streams)| {
            background::watch_memory(memory, streams)
        }),
        Lasting::begin("agree_on_keys", &log, (replica, ready), |(replica, ready)| {
            background::agree_on_keys(replica, ready)
        }),
    ];
    let (grants, draining) = (ArcSwap::from_pointee(parts.grants.clone()), Draining::default());
    let control = Arc::new(Control { grants, draining });
    if let Some(socket) = listeners.admin {
        let serving = socket.serve(Arc::clone(&control));
        tokio::spawn(serving.with_subscriber(log.clone()));
    }
    announcement::started(config, public.address(), health.address(), open_files);
    let (stop, is_stopping) = (config.stop, AtomicBool::default());
    let serving = Mutex::new(Box::new(Serving::begin(parts, seen, &estate, &readiness, &log)));
    Ok(Running {
        public,
        health,
        control,
        readiness,
        front,
        peers,
        estate,
        serving,
        log,
        stop,
        background,
        is_stopping,
    })
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.public.address()
    }

    pub fn health_address(&self) -> SocketAddr {
        self.health.address()
    }

    /// How many answers of upstreams are under way.
    pub fn open_answers(&self) -> usize {
        self.estate.streams.count()
    }

    /// Stop accepting, let what is under way finish, then end. Called again meanwhile, end at once.
    pub async fn stop(&self) -> Drained {
        self.end(self.stop).await
    }

    /// Until an operator asks for `drain` through the admin socket; how long that may take.
    pub async fn asked_to_drain(&self) -> Duration {
        self.control.draining.asked().await
    }

    /// `stop`, by whose call nobody else knows of it yet: still accept for a moment, until whoever sends
    /// requests here has seen that we are not ready.
    pub async fn drain(&self, within: Duration) -> Drained {
        self.end(stop::unannounced(within)).await
    }

    async fn end(&self, settings: DrainSettings) -> Drained {
        let is_second = self.is_stopping.swap(true, Ordering::Relaxed);
        self.readiness.stopping();
        let drained = stop::in_order(
            if is_second { stop::AT_ONCE } else { settings },
            async |settings| self.finish(settings).await,
            async |within| self.control.grants.load().rechecks_are_over(within).await,
            async |drained| self.control.draining.finish(drained == Drained::CutShort).await,
            async |settings| self.health.drain(settings).await,
            self.leave(),
        );
        drained.await
    }

    /// Streams that only listen would take all the time there is.
    async fn finish(&self, settings: DrainSettings) -> Drained {
        let ends_streams = async {
            sleep(settings.keep_accepting).await;
            self.estate.streams.finish(settings.finish_within);
            pending::<Infallible>().await
        };
        tokio::select! {
            drained = self.public.drain(settings) => drained,
            never = ends_streams => match never {},
        }
    }

    async fn leave(&self) {
        for task in &self.background {
            task.end();
        }
        self.serving.lock().await.end();
        if let Some(replica) = &self.estate.replica {
            let _ = replica.leave().await;
        }
    }
}

fn serve_public(
    listener: Listener,
    config: &Config,
    peers: Peers,
    front: Arc<Front>,
    streams: &Arc<Streams>,
    log: &Dispatch,
) -> Result<server::Running, StartFault> {
    let (streams, odd_answers) = (Arc::clone(streams), Arc::new(OddAnswers::default()));
    let longest_body = config.limits.request_body;
    // Each worker has its own connections to the upstream, and its own count of references to all this.
    let make_handler = move || {
        let upstream = Upstream::new(Arc::clone(&odd_answers), streams.of_worker(), longest_body);
        let worker = Arc::new((Arc::clone(&front), upstream));
        let house = Arc::clone(&worker);
        // On the worker's own runtime, with which it ends.
        tokio::spawn(async move { house.1.keep_house().await });
        move |mut request, peer| {
            let worker = Arc::clone(&worker);
            async move { worker.0.answer(&worker.1, &mut request, peer).await }
        }
    };
    let tls = config.tls.clone().map(Acceptor::new).transpose()?;
    let settings = WorkerSettings { log: log.clone(), peers, tls };
    server::start(listener, config.workers, &settings, make_handler).map_err(StartFault::Listen)
}

fn serve_health(
    listener: Listener,
    readiness: &Arc<Readiness>,
    log: &Dispatch,
) -> Result<server::Running, StartFault> {
    let readiness = Arc::clone(readiness);
    let make_handler = move || {
        let readiness = Arc::clone(&readiness);
        move |request, _peer| {
            std::future::ready(health::answer(&readiness, &request).map(Into::into))
        }
    };
    let settings = WorkerSettings { log: log.clone(), peers: Peers::default(), tls: None };
    server::start(listener, NonZeroUsize::MIN, &settings, make_handler)
        .map_err(StartFault::HealthListen)
}

/// Who may connect, if we may have so many files open.
fn peers(config: &Config, open_files: u64) -> Peers {
    let most = match config.limits.connections {
        // Of two files for each connection.
        ConnectionLimit::Half => {
            let quarter = usize::try_from(open_files / 4).unwrap_or(usize::MAX);
            Some(NonZeroUsize::new(quarter).unwrap_or(NonZeroUsize::MIN))
        }
        ConnectionLimit::AtMost(count) => Some(count),
        ConnectionLimit::Unlimited => None,
    };
    Peers::new(most, spared(config))
}

/// Behind proxies is everybody, and on loopback our own pod.
fn spared(config: &Config) -> Vec<IpNet> {
    let loopback = [IpNet::from(LOOPBACK_V4), IpNet::from(LOOPBACK_V6)];
    [config.trusted_proxies.ranges(), &loopback].concat()
}

/// RFC 1122 §3.2.1.3, RFC 4291 §2.5.3
const LOOPBACK_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// Where the IdP sends people back to: to be registered there exactly so.
pub fn redirect_uri(config: &Config) -> String {
    endpoint(&config.issuer, CALLBACK)
}

/// Where the IdP says that somebody logged out: to be registered there, if it does.
pub fn backchannel_logout_uri(config: &Config) -> String {
    endpoint(&config.issuer, BACKCHANNEL_LOGOUT)
}
