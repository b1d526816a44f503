//! The product under test, running: in front of a fake MCP server, with a fake IdP behind its login.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use mcp_doorman::app::memory::Memory;
use mcp_doorman::app::{self, ReloadFault, Running, StartFault, Surroundings};
use mcp_doorman::authorization_server::RegistrationSettings;
use mcp_doorman::authorization_server::clients::declared::{DeclaredClient, ServiceAccount};
use mcp_doorman::authorization_server::clients::document::{DocumentSettings, Support};
use mcp_doorman::chance::Chance;
use mcp_doorman::clock::{Clock, ManualClock, Timestamp};
use mcp_doorman::config::{
    self, Config, ConnectionLimit, Environment, IssuedBy, LimitSettings, MachineSettings,
    ResourceSettings,
};
use mcp_doorman::grants::Lifetimes;
use mcp_doorman::idp::profile::IdentitySource;
use mcp_doorman::idp::{AccessTokenProfile, ClientAuthentication, IdpSettings};
use mcp_doorman::oauth::{PublicUrl, Scopes};
use mcp_doorman::outbound::Internet;
use mcp_doorman::policy::{Access, AccessEntry};
use mcp_doorman::proxy::{IdentityHeaders, StreamSettings};
use mcp_doorman::seal::KeyMaterial;
use mcp_doorman::secret::Secret;
use mcp_doorman::server::{DrainSettings, ListenAddress};
use mcp_doorman::store::file::OpenFault;
use mcp_doorman::store::{StateFault, StateSettings, Store};
use mcp_doorman::telemetry::{self, LogFormat, LogLevel, LogSettings};
use mcp_doorman::tls::ServerIdentity;
use mcp_doorman::wire::{TrustedProxies, UpstreamUrl};
use serde_json::{Value, json};
use url::Url;

use crate::support::browser::Browser;
use crate::support::client::{Authorization, Client, Tokens, metadata};
use crate::support::document_host::{DocumentHost, no_internet};
use crate::support::exchange::{Door, Exchange, Request, Transcript};
use crate::support::fake_idp::{CLIENT_ID, CLIENT_SECRET, FakeIdp};
use crate::support::fake_mcp_server::FakeMcpServer;
use crate::support::idp_quirks::Quirks;
use crate::support::log::CapturedLog;
use crate::support::soon;
use crate::support::tls_authority::{Signed, TlsAuthority, TlsClient};
use crate::support::trouble::{IdpTrouble, TroubledStore};

pub const ORIGIN: &str = "https://tools.example.com";
pub const RESOURCE: &str = "https://tools.example.com/mcp";
pub const HOST: &str = "tools.example.com";
/// Where the usual client waits for its code.
pub const REDIRECT: &str = "http://127.0.0.1:33418/callback";
/// Where a client waits that is a web server.
pub const WEB_REDIRECT: &str = "https://client.example.com/callback";

#[derive(Debug)]
pub struct Doorman {
    running: Running,
    /// Boxed, as the start is: tests hold many of these at once.
    config: Box<Config>,
    surroundings: Surroundings,
    clock: ManualClock,
    log: CapturedLog,
    idp: FakeIdp,
    upstream: FakeMcpServer,
    said: Transcript,
    tls: Option<TlsClient>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is set by a word of its own")]
pub struct Builder {
    upstream: FakeMcpServer,
    clock: ManualClock,
    idp: Option<FakeIdp>,
    /// In what it differs, and what `idp:` then says besides how we are known there.
    quirks: Option<Box<(Quirks, String)>>,
    is_idp_down: bool,
    is_revocable: bool,
    is_discovery_held: bool,
    keys: Vec<KeyMaterial>,
    issuer: &'static str,
    first_url: &'static str,
    resources: Vec<(&'static str, FakeMcpServer)>,
    upstream_path: &'static str,
    /// What an operator says of the server of the resource at that URL.
    reached: Vec<(&'static str, ResourceSettings)>,
    access: Access,
    scopes: &'static str,
    lifetimes: Lifetimes,
    registration: RegistrationSettings,
    internet: Internet,
    clients: Vec<DeclaredClient>,
    service_accounts: Vec<ServiceAccount>,
    client_authentication: ClientAuthentication,
    user_key: &'static str,
    logout_ends_connections: bool,
    log_level: LogLevel,
    workers: usize,
    trusted_proxies: TrustedProxies,
    state: StateSettings,
    admin_socket: Option<PathBuf>,
    issued_by: IssuedBy,
    access_tokens: AccessTokenProfile,
    machines: Option<MachineSettings>,
    idp_keys: Option<String>,
    announced: Vec<(&'static str, Value)>,
    audiences: Vec<(&'static str, &'static str, Vec<String>)>,
    limits: LimitSettings,
    memory: Memory,
    tls: Option<(ServerIdentity, TlsClient)>,
    store: Option<TroubledStore>,
    /// Where the IdP is in trouble from the beginning.
    idp_trouble: Option<(&'static str, IdpTrouble)>,
}

/// A client with a code in its hand.
#[derive(Debug)]
pub struct Granted {
    pub code: String,
    pub verifier: String,
}

/// A person's login with one client, done.
#[derive(Debug)]
pub struct Login {
    pub client: Client,
    pub browser: Browser,
    pub tokens: Tokens,
}

impl Doorman {
    pub fn in_front_of(upstream: FakeMcpServer) -> Builder {
        Builder {
            upstream,
            clock: ManualClock::starting_at(Timestamp::from_seconds(START)),
            idp: None,
            quirks: None,
            is_idp_down: false,
            is_revocable: false,
            is_discovery_held: false,
            keys: vec![sealing_key("this deployment")],
            issuer: ORIGIN,
            first_url: RESOURCE,
            resources: Vec::new(),
            upstream_path: "/mcp",
            reached: Vec::new(),
            access: Access::Anyone,
            scopes: "tools:read tools:write",
            lifetimes: Lifetimes {
                access: HOUR,
                refresh: 14 * DAY,
                grant: 90 * DAY,
                recheck_after: HOUR,
                recheck_grace: 12 * HOUR,
                not_before: Timestamp::from_seconds(0),
            },
            registration: RegistrationSettings {
                dynamic: true,
                redirect_schemes: vec!["cursor".to_owned()],
                documents: DocumentSettings {
                    support: Support::Never,
                    allowed_domains: None,
                    allows_private_hosts: false,
                    pinned: Vec::new(),
                    probed: Vec::new(),
                    probe_pause: MINUTE,
                },
            },
            internet: no_internet(),
            clients: Vec::new(),
            service_accounts: Vec::new(),
            client_authentication: ClientAuthentication::Basic,
            user_key: "sub",
            logout_ends_connections: false,
            log_level: LogLevel::Debug,
            workers: 2,
            trusted_proxies: TrustedProxies::default(),
            state: StateSettings::Memory,
            admin_socket: None,
            issued_by: IssuedBy::Doorman,
            access_tokens: AccessTokenProfile::standard(),
            machines: None,
            idp_keys: None,
            announced: Vec::new(),
            audiences: Vec::new(),
            memory: Memory::default(),
            tls: None,
            store: None,
            idp_trouble: None,
            limits: LimitSettings {
                request_body: 4 * 1024 * 1024,
                connections: ConnectionLimit::Half,
            },
        }
    }

    pub fn idp(&self) -> &FakeIdp {
        &self.idp
    }

    pub fn upstream(&self) -> &FakeMcpServer {
        &self.upstream
    }

    pub fn log(&self) -> &CapturedLog {
        &self.log
    }

    /// Seconds since 1970, as the product sees it.
    pub fn now(&self) -> u64 {
        Clock::Manual(self.clock.clone()).now().seconds()
    }

    pub fn later(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// How many answers of the MCP server are under way.
    pub fn open_answers(&self) -> usize {
        self.running.open_answers()
    }

    /// Wait until that many answers are under way.
    pub async fn until_open_answers(&self, count: usize) {
        let counted = async {
            while self.open_answers() != count {
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("{count} answers under way"), counted).await;
    }

    /// The public listener, as the ingress sees it.
    pub fn door(&self) -> Door {
        let door = Door::to(self.running.address(), HOST).noting(&self.said);
        match &self.tls {
            Some(client) => door.over_tls(client.clone()),
            None => door,
        }
    }

    /// From now on it shows `signed`.
    pub async fn renew(&self, signed: &Signed) {
        let identity = identity(signed, &self.surroundings.clock);
        self.reload(|config| config.tls = Some(identity)).await.unwrap();
    }

    pub fn health(&self) -> Door {
        let address = self.running.health_address();
        Door::to(address, address.to_string())
    }

    /// Everything that was answered so far, by the public listener.
    pub fn said(&self) -> Vec<Exchange> {
        self.said.exchanges()
    }

    /// An endpoint under the issuer.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.config.issuer)
    }

    /// A new browser, with an empty jar.
    pub fn browser(&self) -> Browser {
        let idp = Url::parse(self.idp.issuer()).unwrap();
        let address = *idp.socket_addrs(|| None).unwrap().first().unwrap();
        let authority = &idp[url::Position::BeforeHost..url::Position::AfterPort];
        let idp = Door::to(address, authority);
        let origin = self.config.issuer.origin().to_owned();
        Browser::new(vec![(origin, self.door()), (self.idp.origin().to_owned(), idp)])
    }

    pub async fn send(&self, request: Request) -> Exchange {
        self.door().send(request).await
    }

    pub async fn get(&self, url: &str) -> Exchange {
        self.send(Request::get(url)).await
    }

    /// Register the usual client: a program on the person's machine.
    pub async fn register(&self) -> Client {
        self.register_at(REDIRECT).await
    }

    pub async fn register_at(&self, redirect_uri: &str) -> Client {
        let answer = self.register_with(&metadata(redirect_uri)).await;
        answer.assert_status(201);
        let id = answer.json()["client_id"].as_str().unwrap().to_owned();
        Client { id, redirect_uri: redirect_uri.to_owned() }
    }

    pub async fn register_with(&self, metadata: &Value) -> Exchange {
        self.send(Request::post(&self.endpoint("/register")).json(metadata)).await
    }

    /// The authorization request that `client` would send.
    pub fn authorization(&self, client: &Client) -> Authorization {
        Authorization::of(client, &self.endpoint("/authorize"), self.resource())
    }

    /// Log a person in with `client`, in a new browser, up to the code.
    pub async fn authorize(&self, client: &Client) -> Granted {
        let authorization = self.authorization(client);
        self.complete(&self.browser(), &authorization).await
    }

    pub async fn complete(&self, browser: &Browser, authorization: &Authorization) -> Granted {
        let landing = browser.log_in(&authorization.url()).await;
        assert_eq!(landing.parameter("state"), Some(authorization.state.clone()));
        Granted { code: landing.code(), verifier: authorization.verifier.clone() }
    }

    /// Everything from registration to tokens.
    pub async fn log_in(&self) -> Login {
        let client = self.register().await;
        self.log_in_with(client).await
    }

    pub async fn log_in_with(&self, client: Client) -> Login {
        let browser = self.browser();
        let granted = self.complete(&browser, &self.authorization(&client)).await;
        let tokens = self.exchange(&client, &granted).await.tokens();
        Login { client, browser, tokens }
    }

    /// The usual token request for a code.
    pub async fn exchange(&self, client: &Client, granted: &Granted) -> Exchange {
        self.token(&code_form(client, granted, self.resource())).await
    }

    pub async fn refresh(&self, client: &Client, refresh_token: &str) -> Exchange {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", &client.id),
        ])
        .await
    }

    pub async fn token(&self, form: &[(&str, &str)]) -> Exchange {
        self.send(Request::post(&self.endpoint("/token")).form(form)).await
    }

    pub async fn revoke(&self, client: &Client, token: &str) -> Exchange {
        let form = [("token", token), ("client_id", client.id.as_str())];
        self.send(Request::post(&self.endpoint("/revoke")).form(&form)).await
    }

    /// The IdP says that somebody logged out.
    pub async fn log_out(&self, logout_token: &str) -> Exchange {
        let form = [("logout_token", logout_token)];
        self.send(Request::post(&self.endpoint("/oauth/backchannel-logout")).form(&form)).await
    }

    /// A tool call with `access_token`.
    pub async fn call(&self, access_token: &str) -> Exchange {
        self.send(self.request(access_token)).await
    }

    /// The request of `call`, for a test that changes something.
    pub fn request(&self, access_token: &str) -> Request {
        mcp_request(self.resource()).bearer(access_token)
    }

    pub fn resource(&self) -> &str {
        self.config.resources[0].url.as_str()
    }

    /// The same deployment in a new process: what was in memory is gone, time has not moved.
    pub async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// The same after a change of the config.
    pub async fn restarted_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, surroundings) = (self.config, self.surroundings);
        change(&mut config);
        soon("a graceful stop", self.running.stop()).await;
        drop(self.running);
        // Its threads may still be holding the file of its state.
        let start = async {
            loop {
                match Box::pin(app::start(config.as_ref().clone(), surroundings.clone())).await {
                    Err(StartFault::State(StateFault::File(OpenFault::InUse { .. }))) => {
                        tokio::task::yield_now().await;
                    }
                    started => return started.unwrap(),
                }
            }
        };
        let running = soon("a start", Box::pin(start)).await;
        Self { running, config, surroundings, ..self }
    }

    /// Have the same process serve by the config that it was started with, after a change. The keys that wait for
    /// a restart.
    pub async fn reload(
        &self,
        change: impl FnOnce(&mut Config),
    ) -> Result<Vec<&'static str>, ReloadFault> {
        let mut config = self.config.as_ref().clone();
        change(&mut config);
        self.running.reload(config).await
    }

    /// As the kubelet asks.
    pub async fn until_ready(&self) {
        let ready = async {
            while self.health().send(Request::get("/readyz")).await.status != 200 {
                tokio::task::yield_now().await;
            }
        };
        soon("readiness", ready).await;
    }

    pub async fn stop(self) {
        soon("a graceful stop", self.running.stop()).await;
    }
}

/// A tool call without credentials.
pub fn mcp_request(url: &str) -> Request {
    Request::post(url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-06-18")
        .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }))
}

/// The form of a token request for a code.
pub fn code_form<'a>(
    client: &'a Client,
    granted: &'a Granted,
    resource: &'a str,
) -> [(&'static str, &'a str); 6] {
    [
        ("grant_type", "authorization_code"),
        ("code", &granted.code),
        ("redirect_uri", &client.redirect_uri),
        ("client_id", &client.id),
        ("code_verifier", &granted.verifier),
        ("resource", resource),
    ]
}

impl Builder {
    pub fn access(mut self, entries: &[AccessEntry]) -> Self {
        self.access = Access::Only(entries.to_vec());
        self
    }

    /// Another resource of the same Doorman.
    pub fn and_at(mut self, url: &'static str, upstream: &FakeMcpServer) -> Self {
        self.resources.push((url, upstream.clone()));
        self
    }

    pub fn issuer(mut self, issuer: &'static str) -> Self {
        self.issuer = issuer;
        self
    }

    /// The public URL of the first resource.
    pub fn at(mut self, url: &'static str) -> Self {
        self.first_url = url;
        self
    }

    /// The IdP issues the access tokens.
    pub fn issued_by_the_idp(mut self) -> Self {
        self.issued_by = IssuedBy::Idp;
        self
    }

    /// The IdP publishes these from the beginning.
    pub fn keys_of_the_idp(mut self, set: String) -> Self {
        self.idp_keys = Some(set);
        self
    }

    /// The IdP's metadata says this too.
    pub fn announcing(mut self, members: Vec<(&'static str, Value)>) -> Self {
        self.announced = members;
        self
    }

    /// What the IdP calls the resource at `url`, and whose tokens for it are taken.
    pub fn audience(mut self, url: &'static str, name: &'static str, clients: &[&str]) -> Self {
        let clients = clients.iter().map(|client| (*client).to_owned()).collect();
        self.audiences.push((url, name, clients));
        self
    }

    /// How the IdP's access tokens look.
    pub fn access_tokens(mut self, change: impl FnOnce(&mut AccessTokenProfile)) -> Self {
        change(&mut self.access_tokens);
        self
    }

    /// Machines with these ids may come with tokens of the IdP for this audience.
    pub fn machines(mut self, audience: &str, clients: &[&str]) -> Self {
        let clients = clients.iter().map(|client| (*client).to_owned()).collect();
        self.machines = Some(MachineSettings { audience: audience.to_owned(), clients });
        self
    }

    pub fn upstream_path(mut self, path: &'static str) -> Self {
        self.upstream_path = path;
        self
    }

    /// The server of the resource at `url` is where an operator's `upstream: …` says, with what may stand beside
    /// it, and the files that are named there.
    pub fn reaching(mut self, url: &'static str, yaml: &str, files: &[(&str, String)]) -> Self {
        self.reached.push((url, resource_settings(url, yaml, files)));
        self
    }

    /// It speaks TLS, and shows what `authority`, which its clients believe, has signed.
    pub fn over_tls(mut self, authority: &TlsAuthority, signed: &Signed) -> Self {
        let identity = identity(signed, &Clock::Manual(self.clock.clone()));
        self.tls = Some((identity, authority.client_of(HOST)));
        self
    }

    pub fn scopes(mut self, scopes: &'static str) -> Self {
        self.scopes = scopes;
        self
    }

    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.access = lifetime;
        self
    }

    pub fn grant_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.grant = lifetime;
        self
    }

    /// Keys by name, the current one first.
    pub fn sealed_with(mut self, names: &[&str]) -> Self {
        self.keys = names.iter().map(|name| sealing_key(name)).collect();
        self
    }

    pub fn no_dynamic_registration(mut self) -> Self {
        self.registration.dynamic = false;
        self
    }

    /// Clients may be known by documents, which are fetched from `host` whatever their own says.
    pub fn reading(mut self, host: &DocumentHost) -> Self {
        self.internet = host.internet();
        self.documents(|settings| settings.support = Support::Always)
    }

    pub fn documents(mut self, change: impl FnOnce(&mut DocumentSettings)) -> Self {
        change(&mut self.registration.documents);
        self
    }

    /// More clients, as an operator declares them: entries of `clients:`, and what is in `/jwks.json`.
    pub fn declaring(mut self, clients: &str, keys: &Value) -> Self {
        let yaml = format!(
            "resources:\n  - {{ url: {RESOURCE}, upstream: \"http://127.0.0.1:3000/mcp\", access: any, scopes: {:?} }}\n\
             sealing_keys: [{{ file: /key }}]\nidp: {{ issuer: https://idp.example, client_id: x }}\n\
             clients:\n{clients}",
            self.scopes.split(' ').collect::<Vec<_>>(),
        );
        let environment = Environment::empty()
            .with_file("/config.yaml", yaml)
            .with_file("/key", encoded_key("of no deployment"))
            .with_file("/jwks.json", keys.to_string());
        let config = config::load(Path::new("/config.yaml"), &environment);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        self.clients.extend(config.clients);
        self.service_accounts.extend(config.service_accounts);
        self
    }

    pub fn client_authentication(mut self, method: ClientAuthentication) -> Self {
        self.client_authentication = method;
        self
    }

    /// Log in at an IdP like that. `yaml` is what an operator writes under `idp:` about it, with `ORIGIN` for
    /// where it is.
    pub fn logging_in_at(mut self, quirks: Quirks, yaml: &str) -> Self {
        self.quirks = Some(Box::new((quirks, yaml.to_owned())));
        self
    }

    /// The claim that names a person for good.
    pub fn user_key(mut self, claim: &'static str) -> Self {
        self.user_key = claim;
        self
    }

    pub fn logout_ends_connections(mut self) -> Self {
        self.logout_ends_connections = true;
        self
    }

    pub fn state(mut self, state: StateSettings) -> Self {
        self.state = state;
        self
    }

    /// The IdP revokes one refresh token without ending others.
    pub fn revocable(mut self) -> Self {
        self.is_revocable = true;
        self
    }

    /// Operators may ask there.
    pub fn admin_socket(mut self, path: &Path) -> Self {
        self.admin_socket = Some(path.to_owned());
        self
    }

    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Behind an ingress that says in `X-Forwarded-For` who calls.
    pub fn limits(mut self, change: impl FnOnce(&mut LimitSettings)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Whose memory is as the files in `folder` say, which are those of a control group.
    pub fn memory(mut self, folder: &Path) -> Self {
        self.memory = Memory::told_in(folder, "0::/");
        self
    }

    pub fn behind_a_proxy(mut self) -> Self {
        self.trusted_proxies = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
        self
    }

    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    pub fn idp_down(mut self) -> Self {
        self.is_idp_down = true;
        self
    }

    pub fn idp_in_trouble(mut self, path: &'static str, trouble: IdpTrouble) -> Self {
        self.idp_trouble = Some((path, trouble));
        self
    }

    /// Its state is kept where the test can make trouble.
    pub fn troubled_store(&mut self) -> TroubledStore {
        let store = TroubledStore::at(Clock::Manual(self.clock.clone()));
        self.store = Some(store.clone());
        store
    }

    /// Its state is where another's is.
    pub fn sharing(mut self, store: &TroubledStore) -> Self {
        self.store = Some(store.clone());
        self
    }

    /// The IdP lets whoever asks about it wait.
    pub fn discovery_held(mut self) -> Self {
        self.is_discovery_held = true;
        self
    }

    /// Log in where `other` does, at the same time.
    pub fn beside(mut self, other: &Doorman) -> Self {
        self.idp = Some(other.idp.clone());
        self.clock = other.clock.clone();
        self
    }

    pub async fn start(self) -> Doorman {
        let clock = Clock::Manual(self.clock.clone());
        let idp = match (&self.idp, &self.quirks) {
            (Some(idp), _) => idp.clone(),
            (None, Some(special)) => FakeIdp::start_with(special.0.clone(), clock.clone()).await,
            (None, None) => FakeIdp::start(clock.clone()).await,
        };
        for (name, value) in &self.announced {
            idp.announce(name, value.clone());
        }
        if let Some(keys) = &self.idp_keys {
            idp.publish_keys(200, keys.clone());
        }
        if self.is_idp_down {
            idp.go_down();
        }
        if let Some((path, trouble)) = self.idp_trouble {
            idp.in_trouble(path, trouble);
        }
        if self.is_discovery_held {
            idp.hold_discovery();
        }
        let mut config = Box::new(self.config(idp.issuer()));
        if let Some(special) = &self.quirks {
            config.idp = idp_settings(&special.1, idp.origin());
        }
        let log = CapturedLog::new();
        let dispatch = telemetry::log_to(&config.log, log.clone());
        let surroundings = Surroundings {
            clock,
            chance: Chance::system(),
            log: dispatch,
            internet: self.internet.clone(),
            memory: self.memory.clone(),
            store: self.store.map(|store| Arc::new(store) as Arc<dyn Store>),
        };
        let running =
            Box::pin(app::start(config.as_ref().clone(), surroundings.clone())).await.unwrap();
        let (clock, upstream) = (self.clock, self.upstream);
        let said = Transcript::default();
        let tls = self.tls.map(|(_, client)| client);
        Doorman { running, config, surroundings, clock, log, idp, upstream, said, tls }
    }

    fn config(&self, idp_issuer: &str) -> Config {
        let first = self.resource(self.first_url, &self.upstream);
        let others = self.resources.iter().map(|(url, upstream)| self.resource(url, upstream));
        Config {
            listen: any_port(),
            tls: self.tls.as_ref().map(|(identity, _)| identity.clone()),
            health: any_port(),
            admin_socket: self.admin_socket.clone(),
            workers: NonZeroUsize::new(self.workers).unwrap(),
            log: LogSettings { format: LogFormat::Json, level: self.log_level },
            issuer: PublicUrl::parse(self.issuer).unwrap(),
            resources: std::iter::once(first).chain(others).collect(),
            contact: Some("the <b>help</b> desk".to_owned()),
            idp: IdpSettings {
                client_secret: Some(Secret::new(CLIENT_SECRET.to_owned())),
                client_authentication: self.client_authentication,
                scopes: ["openid", "email"].map(str::to_owned).to_vec(),
                authorization_parameters: vec![("hd".to_owned(), "example.com".to_owned())],
                another_account_parameters: vec![("prompt".to_owned(), "login".to_owned())],
                user_key: vec![self.user_key.to_owned()],
                revocable_refresh_tokens: self.is_revocable,
                logout_ends_connections: self.logout_ends_connections,
                access_tokens: self.access_tokens.clone(),
                ..IdpSettings::openid_provider(idp_issuer.to_owned(), CLIENT_ID.to_owned())
            },
            sealing_keys: self.keys.clone(),
            state: self.state.clone(),
            issued_by: self.issued_by,
            tokens: self.lifetimes,
            machines: self.machines.clone(),
            limits: self.limits,
            stop: DrainSettings::default(),
            streams: StreamSettings {
                listening_grace: MINUTE,
                running_grace: 10 * MINUTE,
                comment_every: Some(Duration::from_secs(25)),
            },
            registration: self.registration.clone(),
            clients: self.clients.clone(),
            service_accounts: self.service_accounts.clone(),
            identity_headers: IdentityHeaders {
                user: HeaderName::from_static("x-forwarded-user"),
                email: HeaderName::from_static("x-forwarded-email"),
                groups: HeaderName::from_static("x-forwarded-groups"),
            },
            allowed_origins: vec![HeaderValue::from_static("https://inspector.example.com")],
            trusted_proxies: self.trusted_proxies.clone(),
        }
    }

    fn resource(&self, url: &str, upstream: &FakeMcpServer) -> ResourceSettings {
        let of_idp = self.audiences.iter().find(|(own, _, _)| *own == url);
        let reached = self.reached.iter().find(|(own, _)| *own == url).map(|(_, said)| said);
        let usual = || UpstreamUrl::parse(&upstream.url(self.upstream_path)).unwrap();
        ResourceSettings {
            url: PublicUrl::parse(url).unwrap(),
            name: Some("Example Tools".to_owned()),
            upstream: reached.map_or_else(usual, |said| said.upstream.clone()),
            upstream_tls: reached.and_then(|said| said.upstream_tls.clone()),
            upstream_headers: reached.map(|said| said.upstream_headers.clone()).unwrap_or_default(),
            upstream_protocol: reached.map(|said| said.upstream_protocol).unwrap_or_default(),
            upstream_deadlines: reached.map(|said| said.upstream_deadlines).unwrap_or_default(),
            access: self.access.clone(),
            scopes: Scopes::parse(self.scopes),
            audience: of_idp.map(|(_, name, _)| (*name).to_owned()),
            allowed_clients: of_idp.map(|(_, _, clients)| clients.clone()).unwrap_or_default(),
        }
    }
}

/// What an operator's `idp:` means, with every host in it that is out there taken for the fake one.
pub fn idp_settings(yaml: &str, origin: &str) -> IdpSettings {
    let yaml = format!(
        "resources: [{{ url: {RESOURCE}, upstream: \"http://127.0.0.1:3000/mcp\", access: any }}]\n\
         sealing_keys: [{{ file: /key }}]\n\
         idp:\n  client_id: {CLIENT_ID}\n  client_secret: {{ insecure_inline: {CLIENT_SECRET:?} }}\n{yaml}\n"
    );
    let environment = Environment::empty()
        .with_file("/config.yaml", yaml.replace("ORIGIN", origin))
        .with_file("/key", encoded_key("of no deployment"));
    let config = config::load(Path::new("/config.yaml"), &environment);
    let mut settings = config.unwrap_or_else(|problems| panic!("{problems}")).idp;
    let endpoints = &mut settings.endpoints;
    let configured = [
        &mut endpoints.authorization,
        &mut endpoints.token,
        &mut endpoints.userinfo,
        &mut endpoints.revocation,
        &mut endpoints.introspection,
        &mut endpoints.tokeninfo,
        &mut endpoints.keys,
    ];
    let mut urls: Vec<&mut Url> = configured.into_iter().flatten().collect();
    urls.extend(settings.groups.lookup.as_mut().map(|lookup| &mut lookup.url));
    urls.extend(settings.email.lookup.as_mut().map(|lookup| &mut lookup.url));
    if let IdentitySource::UserResource(url) = &mut settings.identity {
        urls.push(url);
    }
    for url in urls {
        let here = Url::parse(origin).unwrap();
        *url = here.join(&url[url::Position::BeforePath..]).unwrap();
    }
    settings
}

/// What an operator's resource at `url` means, of which `yaml` says how its server is reached.
pub fn resource_settings(url: &str, yaml: &str, files: &[(&str, String)]) -> ResourceSettings {
    let yaml = format!(
        "resources: [{{ url: {url}, access: any, {yaml} }}]\n\
         sealing_keys: [{{ file: /sealing-key }}]\nidp: {{ issuer: https://idp.example, client_id: x }}"
    );
    let mut environment = Environment::empty()
        .with_file("/config.yaml", yaml)
        .with_file("/sealing-key", encoded_key("of no deployment"));
    for (path, text) in files {
        environment = environment.with_file(*path, text);
    }
    let config = config::load(Path::new("/config.yaml"), &environment);
    let mut config = config.unwrap_or_else(|problems| panic!("{problems}"));
    config.resources.remove(0)
}

/// What an operator's `tls:` means.
pub fn identity(signed: &Signed, clock: &Clock) -> ServerIdentity {
    let yaml = format!(
        "resources: [{{ url: {RESOURCE}, upstream: \"http://127.0.0.1:3000/mcp\", access: any }}]\n\
         sealing_keys: [{{ file: /key }}]\nidp: {{ issuer: https://idp.example, client_id: x }}\n\
         tls: {{ cert: /tls.crt, key: {{ file: /tls.key }} }}"
    );
    let environment = Environment::empty()
        .with_clock(clock.clone())
        .with_file("/config.yaml", yaml)
        .with_file("/key", encoded_key("of no deployment"))
        .with_file("/tls.crt", signed.certificate_pem())
        .with_file("/tls.key", signed.key_pem());
    let config = config::load(Path::new("/config.yaml"), &environment);
    config.unwrap_or_else(|problems| panic!("{problems}")).tls.unwrap()
}

fn any_port() -> ListenAddress {
    ListenAddress { address: "127.0.0.1:0".parse().unwrap(), fallback: None }
}

/// The same name, the same key.
pub fn sealing_key(name: &str) -> KeyMaterial {
    KeyMaterial::parse(&encoded_key(name)).unwrap()
}

fn encoded_key(name: &str) -> String {
    STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes()))
}

pub const MINUTE: Duration = Duration::from_mins(1);
pub const HOUR: Duration = Duration::from_hours(1);
pub const DAY: Duration = Duration::from_hours(24);

/// 2026-09-21: not today, so that a test notices whoever reads the wall clock.
const START: u64 = 1_790_000_000;
