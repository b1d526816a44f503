//! What tests of grants begin with: one grant, a store that misbehaves on demand, an IdP that always says
//! the same.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::chance::Chance;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::grants::recheck::Asking;
use crate::grants::{Foundation, GrantId, Grants, Lifetimes, NewGrant, Revocations};
use crate::idp::{ClientAuthentication, Identity, Idp, IdpSettings, LoggedIn};
use crate::oauth::{ClientDigest, PublicUrl, Scopes};
use crate::outbound::IdpConnection;
use crate::seal::{KeyMaterial, KeyRing};
use crate::secret::{self, Secret};
use crate::store::epoch::Epochs;
use crate::store::{
    Answer, Created, Cursor, Followed, Key, MemoryStore, Reach, Record, Store, StoreFault, Swap,
    Version,
};
use crate::tls::{self, Trust};

pub const GRANT: GrantId = GrantId::new([7; 16]);

/// All that a test of grants moves.
#[derive(Debug)]
pub struct SetUp {
    pub grants: Grants,
    pub store: Arc<OddStore>,
    pub clock: ManualClock,
}

impl SetUp {
    /// With one grant, whose code has just been sent. `idp_token` is what its login brought.
    pub async fn with_code(idp_token: Option<&str>) -> Self {
        let manual = ManualClock::starting_at(Timestamp::from_seconds(1_790_000_000));
        let clock = Clock::Manual(manual.clone());
        let (inner, conduct) = (MemoryStore::new(clock.clone()), Mutex::new(StoreConduct::Good));
        let store = Arc::new(OddStore { inner, conduct });
        let key = URL_SAFE_NO_PAD.encode(secret::sha256(b"this deployment"));
        let key = KeyMaterial::parse(&key).unwrap();
        let issuer = PublicUrl::parse("https://tools.example.com").unwrap();
        let ring = Arc::new(KeyRing::new(&key, &[], &issuer).unwrap());
        let revocations = Arc::new(Revocations::new(clock.clone()));
        let lifetimes = Lifetimes {
            access: Duration::from_hours(1),
            refresh: Duration::from_hours(24),
            grant: Duration::from_hours(240),
            recheck_after: Duration::from_hours(1),
            recheck_grace: Duration::from_hours(12),
            not_before: Timestamp::from_seconds(0),
        };
        let kept: Arc<dyn Store> = store.clone();
        let on = Foundation {
            epochs: Arc::new(Epochs::of(Arc::clone(&kept), clock.clone(), Chance::system())),
            store: kept,
            ring,
            revocations,
            // Nobody listens there.
            idp: idp("http://127.0.0.1:9", &manual),
            clock,
            background: Handle::current(),
        };
        let grants = Grants::new(on, lifetimes);
        let person = Identity { key: "alice-7f3a".to_owned(), ..Identity::default() };
        let refresh_token = idp_token.map(|token| Secret::new(token.to_owned()));
        let new = NewGrant {
            id: GRANT,
            login: LoggedIn { person, refresh_token, subject: None, session: None },
            client: ClientDigest::of("doorman_ci_x"),
            client_name: "Inspector".to_owned(),
            resource: "https://tools.example.com/mcp".to_owned(),
            scopes: Scopes::default(),
        };
        grants.create(new).await.unwrap();
        Self { grants, store, clock: manual }
    }

    /// The code is redeemed: the client has generation 1.
    pub async fn live(idp_token: &str) -> Self {
        let set_up = Self::with_code(Some(idp_token)).await;
        set_up.grants.redeem(GRANT).await.unwrap();
        set_up
    }
}

impl Grants {
    pub fn revocations(&self) -> Arc<Revocations> {
        Arc::clone(&self.on.revocations)
    }

    /// Another replica on the same store.
    pub fn replica(&self) -> Self {
        let revocations = Arc::new(Revocations::new(self.on.clock.clone()));
        let on = Foundation { revocations, ..self.on.clone() };
        Self { on, asking: Asking::default(), ..self.clone() }
    }

    /// The same, with this IdP.
    pub fn asking(&self, firm: &FirmIdp) -> Self {
        let on = Foundation { idp: Arc::clone(&firm.idp), ..self.on.clone() };
        Self { on, ..self.clone() }
    }
}

/// The memory store, unless it is told otherwise.
#[derive(Debug)]
pub struct OddStore {
    inner: MemoryStore,
    conduct: Mutex<StoreConduct>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreConduct {
    Good,
    /// Neither reads nor swaps.
    Away,
    /// Takes no entries of logs.
    AppendsNothing,
    /// Somebody else is always quicker.
    LosesSwaps,
    /// The next swap is done, and nobody hears of it.
    SwapsUnheard,
}

impl OddStore {
    pub fn conduct(&self, conduct: StoreConduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    fn is(&self, conduct: StoreConduct) -> bool {
        *self.conduct.lock().unwrap() == conduct
    }
}

impl Store for OddStore {
    fn read<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        if self.is(StoreConduct::Away) {
            return Box::pin(async { Err(StoreFault) });
        }
        self.inner.read(key)
    }

    fn put<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, ()> {
        self.inner.put(key, value, until)
    }

    fn take<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<Record>> {
        self.inner.take(key)
    }

    fn create<'a>(&'a self, key: &'a Key, value: String, until: Timestamp) -> Answer<'a, Created> {
        self.inner.create(key, value, until)
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        read: Version,
        value: String,
        until: Timestamp,
        reach: Reach,
    ) -> Answer<'a, Swap> {
        Box::pin(async move {
            let conduct = *self.conduct.lock().unwrap();
            match conduct {
                StoreConduct::Good | StoreConduct::AppendsNothing => {
                    self.inner.swap(key, read, value, until, reach).await
                }
                StoreConduct::Away => Err(StoreFault),
                StoreConduct::LosesSwaps => Ok(Swap::Lost),
                StoreConduct::SwapsUnheard => {
                    self.conduct(StoreConduct::Good);
                    self.inner.swap(key, read, value, until, reach).await?;
                    Err(StoreFault)
                }
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Answer<'a, ()> {
        self.inner.delete(key)
    }

    fn list<'a>(&'a self, kind: &'static str) -> Answer<'a, Vec<Record>> {
        self.inner.list(kind)
    }

    fn append<'a>(&'a self, log: &'static str, entry: String, until: Timestamp) -> Answer<'a, ()> {
        if self.is(StoreConduct::AppendsNothing) {
            return Box::pin(async { Err(StoreFault) });
        }
        self.inner.append(log, entry, until)
    }

    fn follow<'a>(&'a self, log: &'static str, after: Cursor) -> Answer<'a, Followed> {
        self.inner.follow(log, after)
    }
}

/// An IdP whose token endpoint always says the same. It listens until its test ends.
#[derive(Debug)]
pub struct FirmIdp {
    pub idp: Arc<Idp>,
    said: Arc<Said>,
}

#[derive(Debug)]
struct Said {
    issuer: String,
    status: u16,
    body: &'static str,
    /// How often the token endpoint was asked.
    asked: watch::Sender<usize>,
    is_held: watch::Sender<bool>,
}

impl FirmIdp {
    pub async fn saying(status: u16, body: &'static str, clock: &ManualClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let idp = idp(&issuer, clock);
        let (asked, is_held) = (watch::Sender::new(0), watch::Sender::new(false));
        let said = Arc::new(Said { issuer, status, body, asked, is_held });
        tokio::spawn(listen(listener, Arc::clone(&said)));
        Self { idp, said }
    }

    /// From now on who asks waits.
    pub fn hold(&self) {
        self.said.is_held.send_replace(true);
    }

    pub fn release(&self) {
        self.said.is_held.send_replace(false);
    }

    pub fn asked(&self) -> usize {
        *self.said.asked.borrow()
    }

    /// Wait until somebody has asked.
    pub async fn question(&self) {
        let mut asked = self.said.asked.subscribe();
        let question = asked.wait_for(|asked| *asked > 0);
        timeout(Duration::from_secs(20), question).await.unwrap().unwrap();
    }
}

fn idp(issuer: &str, clock: &ManualClock) -> Arc<Idp> {
    let settings = IdpSettings {
        client_authentication: ClientAuthentication::Post,
        revocable_refresh_tokens: true,
        ..IdpSettings::openid_provider(issuer.to_owned(), "doorman-at-the-idp".to_owned())
    };
    let tls = tls::client_config(&Trust::System).unwrap();
    let connection = IdpConnection::to(issuer, tls).unwrap();
    Arc::new(Idp::new(settings, String::new(), connection, Clock::Manual(clock.clone())))
}

async fn listen(listener: TcpListener, said: Arc<Said>) {
    while let Ok((stream, _)) = listener.accept().await {
        let said = Arc::clone(&said);
        let service = service_fn(move |request| answer(Arc::clone(&said), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    said: Arc<Said>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await.map_err(io::Error::other)?;
    let issuer = &said.issuer;
    let (status, body) = match path.as_str() {
        "/.well-known/openid-configuration" => {
            let metadata = json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            });
            (200, metadata.to_string())
        }
        // A key set must not be empty; nothing is ever signed with this one.
        "/jwks" => {
            (200, json!({ "keys": [{ "kty": "RSA", "n": format!("{}w", "_".repeat(341)), "e": "AQAB" }] }).to_string())
        }
        _ => {
            said.asked.send_modify(|asked| *asked += 1);
            let mut is_held = said.is_held.subscribe();
            is_held.wait_for(|is_held| !is_held).await.map_err(io::Error::other)?;
            (said.status, said.body.to_owned())
        }
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Ok(answer)
}
