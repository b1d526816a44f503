//! Config → collaborators.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::app::{StartFault, Surroundings, redirect_uri};
use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::declared::ServiceAccount;
use crate::authorization_server::clients::document::Documents;
use crate::browser::Cookies;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::{Config, IssuedBy, ResourceSettings};
use crate::grants::{Foundation, GrantId, Grants, Revocations};
use crate::idp::profile::ClaimPath;
use crate::idp::{Idp, IdpSettings};
use crate::outbound::{
    IdpConnection, Internet, NoConnection, StrangerConnection, StrangerSettings,
};
use crate::pages::Pages;
use crate::policy::{Access, Resource, UpstreamServer};
use crate::proxy::{Sessions, Streams};
use crate::router::{Routes, TokenIssuer};
use crate::seal::{KeyRing, SealFault};
use crate::store::epoch::Epochs;
use crate::store::replicas::Replica;
use crate::store::{self, Cursor, StateSettings, Store};
use crate::tls::{self, ClientConfig, Trust};
use crate::token::{People, Verifier};

/// What lives as long as the process, whatever the config becomes.
#[derive(Debug)]
pub struct Estate {
    pub clock: Clock,
    chance: Chance,
    internet: Internet,
    store: Arc<dyn Store>,
    epochs: Arc<Epochs>,
    revocations: Arc<Revocations>,
    pub streams: Arc<Streams>,
    /// How far the log of endings was read.
    pub endings: Arc<Mutex<Cursor>>,
    /// `None` if no other process can have this store.
    pub replica: Option<Arc<Replica>>,
}

/// Everything derived from one config.
pub struct Derived {
    pub routes: Routes,
    pub parts: Parts,
    /// Generations of grants that are in use, from the verifier of these routes.
    pub seen: mpsc::Receiver<(GrantId, u32)>,
}

/// What the next config may still have a use for, as it is.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    pub ring: Arc<KeyRing>,
    pub idp: Arc<Idp>,
    pub documents: Arc<Documents>,
    pub grants: Grants,
    /// Of the resources, in the same order.
    pub upstreams: Vec<Arc<UpstreamServer>>,
}

impl Estate {
    pub async fn of(
        config: &Config,
        ring: &KeyRing,
        surroundings: &Surroundings,
    ) -> Result<Self, StartFault> {
        let (clock, chance) = (surroundings.clock.clone(), surroundings.chance);
        let store = match &surroundings.store {
            Some(store) => Arc::clone(store),
            None => store::open(&config.state, clock.clone(), chance).await?,
        };
        let revocations = Arc::new(Revocations::new(clock.clone()));
        let streams = Streams::new(config.streams, Arc::clone(&revocations), clock.clone());
        let replica = match &config.state {
            StateSettings::Memory | StateSettings::Dir(_) => None,
            StateSettings::Redis(_) => {
                let (store, clock) = (Arc::clone(&store), clock.clone());
                Some(Arc::new(Replica::new(store, clock, chance, ring)?))
            }
        };
        Ok(Self {
            epochs: Arc::new(Epochs::of(Arc::clone(&store), clock.clone(), chance)),
            streams: Arc::new(streams),
            endings: Arc::new(Mutex::new(Cursor::START)),
            internet: surroundings.internet.clone(),
            clock,
            chance,
            store,
            revocations,
            replica,
        })
    }
}

/// The keys that `config` seals with, and opens.
pub fn ring(config: &Config) -> Result<Arc<KeyRing>, SealFault> {
    let (current, previous) = config.sealing_keys.split_first().ok_or(SealFault)?;
    Ok(Arc::new(KeyRing::new(current, previous, &config.issuer)?))
}

/// What answers by `config`, in place of what answered by `before`: of which it takes what did not change, because
/// that has connections open, or knows what it would have to ask for.
pub fn derive(
    config: Config,
    ring: Arc<KeyRing>,
    estate: &Estate,
    before: Option<&Parts>,
) -> Result<Derived, StartFault> {
    let clock = &estate.clock;
    if config.tokens.not_before > clock.now() {
        return Err(StartFault::NotBefore);
    }
    if config.idp.issuer.to_ascii_lowercase().starts_with("https:") {
        // Who can't sign people in must not take the place of a replica that can.
        tls::read_system_authorities().map_err(NoConnection::from)?;
    }
    let system = tls::client_config(&Trust::System).map_err(NoConnection::from)?;
    let idp = idp(&config, &system, clock, before)?;
    let foundation = Foundation {
        store: Arc::clone(&estate.store),
        epochs: Arc::clone(&estate.epochs),
        ring: Arc::clone(&ring),
        revocations: Arc::clone(&estate.revocations),
        idp: Arc::clone(&idp),
        clock: clock.clone(),
        background: Handle::current(),
    };
    let grants = match before {
        Some(before) => before.grants.succeeded_by(foundation, config.tokens),
        None => Grants::new(foundation, config.tokens),
    };
    let (first_seen, seen) = mpsc::channel(MOST_UNCONFIRMED);
    let revocations = Arc::clone(&estate.revocations);
    let verifier = Verifier::new(Arc::clone(&ring), grants.clone(), revocations, first_seen);
    let verifier = if takes_tokens_of_the_idp(&config) {
        let people = match config.issued_by {
            IssuedBy::Idp => People::Accepted,
            IssuedBy::Doorman => People::Refused,
        };
        verifier.with_tokens_of(&idp, people, config.machines.clone())
    } else {
        verifier
    };
    let resources: Vec<_> = config
        .resources
        .iter()
        .map(|own| resource(own, &config, &system, before))
        .collect::<Result<_, _>>()?;
    let upstreams = resources.iter().map(|resource| Arc::clone(&resource.upstream)).collect();
    let documents = documents(&config, estate, system, before)?;
    let sessions = Arc::new(Sessions::new(Arc::clone(&ring), &config.idp.issuer));
    let authorization_server = AuthorizationServer {
        issuer: config.issuer.clone(),
        resources,
        registration: config.registration.clone(),
        documents: Arc::clone(&documents),
        declared: config.clients.clone(),
        service_accounts: config.service_accounts.clone(),
        cookies: Cookies::of(&config.issuer),
        ring: Arc::clone(&ring),
        grants: grants.clone(),
        store: Arc::clone(&estate.store),
        idp: Arc::clone(&idp),
        pages: Arc::new(Pages::new(config.contact.clone())?),
        chance: estate.chance,
    };
    let issuer = match config.issued_by {
        IssuedBy::Doorman => TokenIssuer::Ourselves,
        IssuedBy::Idp => TokenIssuer::Idp(config.idp.issuer.clone()),
    };
    let routes = Routes::new(
        authorization_server,
        issuer,
        Arc::new(verifier),
        config.identity_headers.clone(),
        sessions,
        config.trusted_proxies.clone(),
        &config.allowed_origins,
    )?;
    let parts = Parts { config, ring, idp, documents, grants, upstreams };
    Ok(Derived { routes, parts, seen })
}

fn idp(
    config: &Config,
    system: &ClientConfig,
    clock: &Clock,
    before: Option<&Parts>,
) -> Result<Arc<Idp>, NoConnection> {
    let settings =
        IdpSettings { kept_claims: kept_claims(&config.resources), ..config.idp.clone() };
    let redirect_uri = redirect_uri(config);
    if let Some(before) = before
        && *before.idp.settings() == settings
        && self::redirect_uri(&before.config) == redirect_uri
    {
        return Ok(Arc::clone(&before.idp));
    }
    let connection = IdpConnection::to(&settings.issuer, system.clone())?;
    let idp = Idp::new(settings, redirect_uri, connection, clock.clone());
    if let Some(before) = before {
        idp.learn_from(&before.idp);
    }
    Ok(Arc::new(idp))
}

fn documents(
    config: &Config,
    estate: &Estate,
    system: ClientConfig,
    before: Option<&Parts>,
) -> Result<Arc<Documents>, StartFault> {
    if let Some(before) = before
        && before.config.registration == config.registration
        && before.config.issuer == config.issuer
    {
        return Ok(Arc::clone(&before.documents));
    }
    Ok(Arc::new(Documents::new(
        config.registration.documents.clone(),
        config.registration.redirect_schemes.clone(),
        strangers(config, estate, system)?,
        estate.clock.clone(),
    )))
}

/// Whether its keys matter to requests.
pub fn takes_tokens_of_the_idp(config: &Config) -> bool {
    config.issued_by == IssuedBy::Idp || config.machines.is_some()
}

/// The claims that some access rule asks about, each once.
fn kept_claims(resources: &[ResourceSettings]) -> Vec<ClaimPath> {
    let rules = resources.iter().filter_map(|resource| match &resource.access {
        Access::Only(entries) => Some(entries.iter().flat_map(|entry| &entry.claims)),
        Access::Anyone => None,
    });
    let names: BTreeSet<_> = rules.flatten().map(|rule| rule.claim.clone()).collect();
    names.into_iter().map(ClaimPath).collect()
}

fn strangers(
    config: &Config,
    estate: &Estate,
    system: ClientConfig,
) -> Result<StrangerConnection, StartFault> {
    let allows_private = config.registration.documents.allows_private_hosts;
    // Who tries things out has an issuer on loopback, and clients there too.
    let allows_loopback_http = allows_private && !config.issuer.is_https();
    let settings = StrangerSettings { allows_private, allows_loopback_http };
    Ok(StrangerConnection::new(&estate.internet, system, settings, estate.clock.clone())?)
}

fn resource(
    settings: &ResourceSettings,
    config: &Config,
    system: &ClientConfig,
    before: Option<&Parts>,
) -> Result<Arc<Resource>, StartFault> {
    let server = match before.and_then(|before| before.server_of(settings)) {
        Some(server) => server,
        None => Arc::new(server(settings, system)?),
    };
    let ResourceSettings { url, name, access, scopes, audience, allowed_clients, .. } =
        settings.clone();
    let may_use = |account: &&ServiceAccount| account.may_use(url.as_str());
    let accounts = config.service_accounts.iter().filter(may_use);
    let accounts = accounts.map(|account| account.client.id.clone()).collect();
    let mut resource = Resource::new(url, name, server, access, accounts, scopes);
    if let Some(name) = audience {
        resource.audience.name = name;
    }
    resource.audience.allowed_clients = allowed_clients;
    Ok(Arc::new(resource))
}

fn server(
    settings: &ResourceSettings,
    system: &ClientConfig,
) -> Result<UpstreamServer, NoConnection> {
    let ResourceSettings {
        upstream,
        upstream_protocol,
        upstream_tls,
        upstream_headers,
        upstream_deadlines,
        ..
    } = settings.clone();
    let server =
        UpstreamServer::over_tls(upstream, upstream_protocol, upstream_tls.as_ref(), system)?;
    Ok(UpstreamServer { headers: upstream_headers, deadlines: upstream_deadlines, ..server })
}

impl Parts {
    /// The upstream server of the same resource, with its connections, if it is still reached as `settings` say.
    fn server_of(&self, settings: &ResourceSettings) -> Option<Arc<UpstreamServer>> {
        let mut known = self.config.resources.iter().zip(&self.upstreams);
        let (_, server) = known.find(|(own, _)| own.reaches_the_same(settings))?;
        Some(Arc::clone(server))
    }
}

const MOST_UNCONFIRMED: usize = 4096;
