//! GET of a URL that a stranger named, such as a client ID metadata document. Whoever can open our
//! authorization endpoint chooses it, so it must reach nothing but the public internet, and not often.
//!
//! The name is resolved once, every address is judged, and the connection goes to one that was judged: a
//! second answer of the resolver is never asked for (DNS rebinding).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use url::{Host, Url};

use crate::clock::{Clock, Timestamp};
use crate::oauth::public_url::is_loopback;
use crate::outbound::address::is_public;
use crate::outbound::idp::NoConnection;
use crate::outbound::names::{Names, Route};
use crate::telemetry::causes;
use crate::tls::{self, ClientConfig, Trust};

/// How the internet is reached: a test has its own.
#[derive(Clone, Debug)]
pub struct Internet {
    pub names: Names,
    pub trust: Trust,
}

/// What is allowed besides `https` to the public internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrangerSettings {
    /// Any address, for documents on an intranet.
    pub allows_private: bool,
    /// `http` to loopback, for trying things out.
    pub allows_loopback_http: bool,
}

/// Who named the URL to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Somebody who opened a page of ours: what they may cause is limited.
    Stranger,
    /// The config: strangers who use up their budget must not use up this.
    Operator,
}

/// The way to strangers. Nothing is kept open between two requests.
#[derive(Debug)]
pub struct StrangerConnection {
    names: Names,
    tls: ClientConfig,
    settings: StrangerSettings,
    clock: Clock,
    budget: Budget,
    permits: Semaphore,
}

/// A JSON document, and the header it came with.
#[derive(Debug)]
pub struct Fetched {
    pub body: Vec<u8>,
    pub headers: HeaderMap,
}

/// Why there is no document. For the log: to a stranger, all of these must look the same, because they
/// tell what there is in our network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfetched {
    #[error("it is not https")]
    NotHttps,
    #[error("its host is an IP address")]
    AddressAsHost,
    #[error("it has a user or password in it")]
    Credentials,
    #[error("more than {MOST_PER_HOST} requests to {0} in a minute")]
    HostBudget(String),
    #[error("more than {MOST_REQUESTS} requests to strangers in a minute")]
    Budget,
    #[error("{MOST_AT_ONCE} other requests to strangers are under way")]
    Busy,
    #[error("its host has no address: {0}")]
    NotResolved(String),
    #[error("its host has the address {0}, which is not of the public internet")]
    NotPublic(IpAddr),
    #[error("no answer within {} s", FIRST_BYTE.as_secs())]
    NoAnswer,
    #[error("not whole within {} s", WHOLE.as_secs())]
    TooSlow,
    #[error("no answer: {0}")]
    Failed(String),
    #[error("answered {0} in place of 200")]
    Status(StatusCode),
    #[error("is not of type application/json")]
    NotJson,
    #[error("is encoded, which we did not accept")]
    Encoded,
    #[error("is larger than {LARGEST} bytes")]
    TooLarge,
}

impl Unfetched {
    /// Nothing was asked, because too much was asked before: says nothing about the document.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::HostBudget(_) | Self::Budget | Self::Busy => true,
            Self::NotHttps
            | Self::AddressAsHost
            | Self::Credentials
            | Self::NotResolved(_)
            | Self::NotPublic(_)
            | Self::NoAnswer
            | Self::TooSlow
            | Self::Failed(_)
            | Self::Status(_)
            | Self::NotJson
            | Self::Encoded
            | Self::TooLarge => false,
        }
    }
}

impl Internet {
    /// By the resolver and the certificates of this machine.
    pub fn of_this_machine() -> Self {
        Self { names: Names::System, trust: Trust::System }
    }
}

impl StrangerConnection {
    /// `system` is what this machine trusts.
    pub fn new(
        internet: &Internet,
        system: ClientConfig,
        settings: StrangerSettings,
        clock: Clock,
    ) -> Result<Self, NoConnection> {
        let tls = match &internet.trust {
            Trust::System => system,
            trust @ Trust::Authority(_) => tls::client_config(trust)?,
        };
        Ok(Self {
            names: internet.names.clone(),
            tls,
            settings,
            clock,
            budget: Budget::default(),
            permits: Semaphore::new(MOST_AT_ONCE),
        })
    }

    /// Whether `http` to loopback would be asked.
    pub fn allows_loopback_http(&self) -> bool {
        self.settings.allows_loopback_http
    }

    /// The JSON document at `url`, if everything about it is in order.
    pub async fn get(&self, url: &Url, named_by: NamedBy) -> Result<Fetched, Unfetched> {
        let host = self.acceptable_host(url)?;
        let _permit = match named_by {
            NamedBy::Stranger => Some(self.permit(&host).await?),
            NamedBy::Operator => None,
        };
        let fetched = async {
            let answer = timeout(FIRST_BYTE, self.ask(url, &host)).await;
            let answer = answer.map_err(|_| Unfetched::NoAnswer)??;
            read(answer).await
        };
        timeout(WHOLE, fetched).await.map_err(|_| Unfetched::TooSlow)?
    }

    async fn permit(&self, host: &Host<&str>) -> Result<SemaphorePermit<'_>, Unfetched> {
        self.budget.spend(&host.to_string(), self.clock.now())?;
        match timeout(WHOLE, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Unfetched::Busy),
        }
    }

    /// An address in place of a name would never be seen by the resolver, so it is refused before.
    fn acceptable_host<'a>(&self, url: &'a Url) -> Result<Host<&'a str>, Unfetched> {
        let is_local_http =
            self.settings.allows_loopback_http && url.scheme() == "http" && is_loopback(url);
        if url.scheme() != "https" && !is_local_http {
            return Err(Unfetched::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Unfetched::Credentials);
        }
        match url.host() {
            Some(host @ Host::Domain(_)) => Ok(host),
            Some(host @ (Host::Ipv4(_) | Host::Ipv6(_))) if is_local_http => Ok(host),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => Err(Unfetched::AddressAsHost),
        }
    }

    /// The head of the answer, from an address that was judged.
    #[expect(clippy::disallowed_methods, reason = "this is outbound/")]
    async fn ask(&self, url: &Url, host: &Host<&str>) -> Result<reqwest::Response, Unfetched> {
        let judged = self.judged_routes(url, host).await?;
        let client = Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(Judged(judged.iter().map(|route| route.dial).collect()))
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("mcp-doorman/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(failed)?;
        let request = client
            .get(url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, IDENTITY);
        request.send().await.map_err(failed)
    }

    async fn judged_routes(&self, url: &Url, host: &Host<&str>) -> Result<Vec<Route>, Unfetched> {
        let port = url.port_or_known_default().ok_or(Unfetched::NotHttps)?;
        let direct =
            |address: IpAddr| vec![Route { address, dial: SocketAddr::new(address, port) }];
        let routes = match host {
            Host::Domain(name) => self
                .names
                .look_up(name, port)
                .await
                .map_err(|error| Unfetched::NotResolved(causes(&error)))?,
            Host::Ipv4(address) => return Ok(direct(IpAddr::V4(*address))),
            Host::Ipv6(address) => return Ok(direct(IpAddr::V6(*address))),
        };
        if routes.is_empty() {
            return Err(Unfetched::NotResolved("the answer is empty".to_owned()));
        }
        // All of them: which one is dialled in the end is not ours to say.
        let private = routes.iter().find(|route| !is_public(route.address));
        match private {
            Some(route) if !self.settings.allows_private => {
                Err(Unfetched::NotPublic(route.address))
            }
            Some(_) | None => Ok(routes),
        }
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Fetched, Unfetched> {
    if answer.status() != StatusCode::OK {
        return Err(Unfetched::Status(answer.status()));
    }
    if !is_json(answer.headers()) {
        return Err(Unfetched::NotJson);
    }
    if answer.headers().get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != IDENTITY) {
        return Err(Unfetched::Encoded);
    }
    let mut body = Vec::new();
    if answer.content_length().is_some_and(|length| length > LARGEST as u64) {
        return Err(Unfetched::TooLarge);
    }
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Unfetched::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { body, headers: std::mem::take(answer.headers_mut()) })
}

/// `application/json`, or `application/<anything>+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Whatever name it is asked for: the addresses that were judged.
struct Judged(Vec<SocketAddr>);

impl Resolve for Judged {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// The requests of the last minute, so that nobody makes us knock at somebody's door all day long.
#[derive(Debug, Default)]
struct Budget(Mutex<VecDeque<(Timestamp, Arc<str>)>>);

impl Budget {
    fn spend(&self, host: &str, now: Timestamp) -> Result<(), Unfetched> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|(at, _)| at.after(BUDGET_PERIOD) > now);
        if spent.iter().filter(|(_, own)| **own == *host).count() >= MOST_PER_HOST {
            return Err(Unfetched::HostBudget(host.to_owned()));
        }
        if spent.len() >= MOST_REQUESTS {
            return Err(Unfetched::Budget);
        }
        spent.push_back((now, host.into()));
        Ok(())
    }
}

/// The whole chain of causes, without the URL: it is logged beside.
fn failed(error: reqwest::Error) -> Unfetched {
    Unfetched::Failed(causes(&error.without_url()))
}

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// Bytes: what the draft on client ID metadata documents recommends (§6.6).
const LARGEST: usize = 5 * 1024;
const FIRST_BYTE: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(5);
const MOST_AT_ONCE: usize = 4;
const MOST_PER_HOST: usize = 20;
const MOST_REQUESTS: usize = 60;
const BUDGET_PERIOD: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let budget = Budget::default();
        let now = Timestamp::from_seconds(1000);
        for _ in 0..MOST_PER_HOST {
            assert_eq!(budget.spend("a.example", now), Ok(()));
        }

        assert!(matches!(budget.spend("a.example", now), Err(Unfetched::HostBudget(_))));
        for number in 0..MOST_REQUESTS - MOST_PER_HOST {
            assert_eq!(budget.spend(&format!("{number}.example"), now), Ok(()));
        }
        assert_eq!(budget.spend("z.example", now), Err(Unfetched::Budget));
        assert_eq!(budget.spend("a.example", now.after(BUDGET_PERIOD)), Ok(()));
    }

    /// Whatever its caller has checked: an address in place of a name never meets the resolver.
    #[tokio::test]
    async fn what_is_not_https_to_a_name_is_refused_here_too() {
        let names = Names::Told(Arc::new(|name| panic!("{name} was looked up")));
        let internet = Internet { names, trust: Trust::System };
        let system = tls::client_config(&Trust::System).unwrap();
        let settings = StrangerSettings { allows_private: true, allows_loopback_http: false };
        let strangers =
            StrangerConnection::new(&internet, system, settings, Clock::System).unwrap();

        for (text, reason) in [
            ("https://127.0.0.1/c", Unfetched::AddressAsHost),
            ("https://8.8.8.8/c", Unfetched::AddressAsHost),
            ("https://2130706433/c", Unfetched::AddressAsHost),
            ("https://[::1]/c", Unfetched::AddressAsHost),
            ("https://[::ffff:10.0.0.1]/c", Unfetched::AddressAsHost),
            ("http://client.example/c", Unfetched::NotHttps),
            ("http://localhost/c", Unfetched::NotHttps),
            ("http://127.0.0.1/c", Unfetched::NotHttps),
            ("ftp://client.example/c", Unfetched::NotHttps),
            ("https://a@client.example/c", Unfetched::Credentials),
            ("https://:b@client.example/c", Unfetched::Credentials),
        ] {
            for named_by in [NamedBy::Stranger, NamedBy::Operator] {
                let got = strangers.get(&Url::parse(text).unwrap(), named_by).await;
                assert_eq!(got.unwrap_err(), reason, "{text}");
            }
        }
    }

    #[test]
    fn json_is_known_by_its_type() {
        for (text, is_fine) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/oauth-client+json", true),
            ("text/json", false),
            ("text/html", false),
            ("application/jsonp", false),
            ("text/x+json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]);
            assert_eq!(is_json(&headers), is_fine, "{text}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
