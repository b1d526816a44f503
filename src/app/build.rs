//! Config → collaborators.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::app::{StartFault, Surroundings, redirect_uri};
use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::clients::declared::ServiceAccount;
use crate::authorization_server::clients::document::Documents;
use crate::browser::Cookies;
use crate::config::{Config, IssuedBy, ResourceSettings};
use crate::grants::{Foundation, GrantId, Grants, Revocations};
use crate::idp::profile::ClaimPath;
use crate::idp::{Idp, IdpSettings};
use crate::outbound::{IdpConnection, NoConnection, StrangerConnection, StrangerSettings};
use crate::pages::Pages;
use crate::policy::{Access, Resource, UpstreamServer};
use crate::proxy::{Sessions, Streams};
use crate::router::{Front, Routes, TokenIssuer};
use crate::seal::KeyRing;
use crate::store::epoch::Epochs;
use crate::store::replicas::Replica;
use crate::store::{self, StateSettings};
use crate::tls::{self, ClientConfig, Trust};
use crate::token::{People, Verifier};

/// Everything that answers requests, and what its background tasks need.
pub struct Built {
    pub front: Front,
    pub idp: Arc<Idp>,
    pub documents: Arc<Documents>,
    pub grants: Grants,
    pub streams: Arc<Streams>,
    pub upstreams: Vec<Arc<UpstreamServer>>,
    pub seen: mpsc::Receiver<(GrantId, u32)>,
    /// `None` if no other process can have this store.
    pub replica: Option<Arc<Replica>>,
}

pub async fn build(config: &Config, surroundings: &Surroundings) -> Result<Built, StartFault> {
    let clock = surroundings.clock.clone();
    let (current, previous) = config.sealing_keys.split_first().ok_or(crate::seal::SealFault)?;
    let ring = Arc::new(KeyRing::new(current, previous, &config.issuer)?);
    let store = match &surroundings.store {
        Some(store) => Arc::clone(store),
        None => store::open(&config.state, clock.clone(), surroundings.chance).await?,
    };
    let revocations = Arc::new(Revocations::new(clock.clone()));
    if config.idp.issuer.to_ascii_lowercase().starts_with("https:") {
        // Who can't sign people in must not take the place of a replica that can.
        tls::read_system_authorities().map_err(NoConnection::from)?;
    }
    let system = tls::client_config(&Trust::System).map_err(NoConnection::from)?;
    let idp = Arc::new(Idp::new(
        IdpSettings { kept_claims: kept_claims(&config.resources), ..config.idp.clone() },
        redirect_uri(config),
        IdpConnection::to(&config.idp.issuer, system.clone())?,
        clock.clone(),
    ));
    let replica = match &config.state {
        StateSettings::Memory | StateSettings::Dir(_) => None,
        StateSettings::Redis(_) => {
            let (store, clock) = (Arc::clone(&store), clock.clone());
            Some(Arc::new(Replica::new(store, clock, surroundings.chance, &ring)?))
        }
    };
    let epochs = Epochs::of(Arc::clone(&store), clock.clone(), surroundings.chance);
    let foundation = Foundation {
        store: Arc::clone(&store),
        epochs: Arc::new(epochs),
        ring: Arc::clone(&ring),
        revocations: Arc::clone(&revocations),
        idp: Arc::clone(&idp),
        clock: clock.clone(),
        background: Handle::current(),
    };
    let grants = Grants::new(foundation, config.tokens);
    let (first_seen, seen) = mpsc::channel(MOST_UNCONFIRMED);
    let verifier =
        Verifier::new(Arc::clone(&ring), grants.clone(), Arc::clone(&revocations), first_seen);
    let verifier = if takes_tokens_of_the_idp(config) {
        let people = match config.issued_by {
            IssuedBy::Idp => People::Accepted,
            IssuedBy::Doorman => People::Refused,
        };
        verifier.with_tokens_of(&idp, people, config.machines.clone())
    } else {
        verifier
    };
    let streams = Arc::new(Streams::new(config.streams, revocations, clock.clone()));
    let resources: Vec<_> = config
        .resources
        .iter()
        .map(|own| resource(own, config, &system))
        .collect::<Result<_, _>>()?;
    let upstreams = resources.iter().map(|resource| Arc::clone(&resource.upstream)).collect();
    let documents = Arc::new(Documents::new(
        config.registration.documents.clone(),
        config.registration.redirect_schemes.clone(),
        strangers(config, surroundings, system)?,
        clock.clone(),
    ));
    let sessions = Arc::new(Sessions::new(Arc::clone(&ring), &config.idp.issuer));
    let authorization_server = AuthorizationServer {
        issuer: config.issuer.clone(),
        resources,
        registration: config.registration.clone(),
        documents: Arc::clone(&documents),
        declared: config.clients.clone(),
        service_accounts: config.service_accounts.clone(),
        cookies: Cookies::of(&config.issuer),
        ring,
        grants: grants.clone(),
        store,
        idp: Arc::clone(&idp),
        pages: Arc::new(Pages::new(config.contact.clone())?),
        chance: surroundings.chance,
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
    let front = Front::new(routes, clock, surroundings.chance)?;
    Ok(Built { front, idp, documents, grants, streams, upstreams, seen, replica })
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
    surroundings: &Surroundings,
    system: ClientConfig,
) -> Result<StrangerConnection, StartFault> {
    let allows_private = config.registration.documents.allows_private_hosts;
    // Who tries things out has an issuer on loopback, and clients there too.
    let allows_loopback_http = allows_private && !config.issuer.is_https();
    let settings = StrangerSettings { allows_private, allows_loopback_http };
    Ok(StrangerConnection::new(
        &surroundings.internet,
        system,
        settings,
        surroundings.clock.clone(),
    )?)
}

fn resource(
    settings: &ResourceSettings,
    config: &Config,
    system: &ClientConfig,
) -> Result<Arc<Resource>, StartFault> {
    let ResourceSettings {
        url,
        name,
        upstream,
        upstream_protocol,
        upstream_tls,
        upstream_headers,
        upstream_deadlines,
        access,
        scopes,
        audience,
        allowed_clients,
    } = settings.clone();
    let may_use = |account: &&ServiceAccount| account.may_use(url.as_str());
    let accounts = config.service_accounts.iter().filter(may_use);
    let accounts = accounts.map(|account| account.client.id.clone()).collect();
    let server = UpstreamServer::over_tls(
        upstream.clone(),
        upstream_protocol,
        upstream_tls.as_ref(),
        system,
    )
    .map_err(NoConnection::from)?;
    let mut resource = Resource::new(url, name, upstream, access, accounts, scopes);
    resource.upstream = Arc::new(UpstreamServer {
        headers: upstream_headers,
        deadlines: upstream_deadlines,
        ..server
    });
    if let Some(name) = audience {
        resource.audience.name = name;
    }
    resource.audience.allowed_clients = allowed_clients;
    Ok(Arc::new(resource))
}

const MOST_UNCONFIRMED: usize = 4096;
