//! Requests to hosts that the operator named: the IdP. Proxies from the environment and private
//! addresses are allowed; redirects are not, answers are bounded in size and time.

use std::time::Duration;

use http::{Request, Response};
use reqwest::redirect::Policy;
use url::Url;

use crate::oauth::public_url::is_loopback;
use crate::telemetry::causes;
use crate::tls::{ClientConfig, NoAuthorities, TlsFault};

/// The connection pool to the IdP.
#[derive(Clone, Debug)]
pub struct IdpConnection(reqwest::Client);

/// No whole answer came. The cause is for the log; it holds no part of what was sent but the URL's host.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    #[error("no answer: {0}")]
    Failed(String),
    #[error("the answer is larger than {LARGEST_ANSWER} bytes")]
    TooLarge,
}

#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    #[error(transparent)]
    Authorities(#[from] NoAuthorities),
    #[error(transparent)]
    Tls(#[from] TlsFault),
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl IdpConnection {
    /// To the IdP with this issuer, which `tls` has to trust. One on this machine is reached directly: a proxy
    /// would look for it on its own machine.
    #[expect(clippy::disallowed_methods, reason = "this is outbound/")]
    pub fn to(issuer: &str, tls: ClientConfig) -> Result<Self, NoConnection> {
        let is_local = Url::parse(issuer).is_ok_and(|url| is_loopback(&url));
        let builder = reqwest::Client::builder();
        let builder = if is_local { builder.no_proxy() } else { builder };
        let client = builder
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(3))
            // Kept for the next request, a connection may be closed just as a code is sent on it, and nobody
            // knows then whether the code is spent.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("mcp-doorman/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Unreachable> {
        self.send_within(request, LONGEST_WAIT).await
    }

    /// The same with a deadline for the whole answer.
    pub async fn send_within(
        &self,
        request: Request<Vec<u8>>,
        within: Duration,
    ) -> Result<Response<Vec<u8>>, Unreachable> {
        let mut request: reqwest::Request = request.try_into().map_err(failed)?;
        *request.timeout_mut() = Some(within);
        let mut answer = self.0.execute(request).await.map_err(failed)?;
        let mut whole = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if whole.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Unreachable::TooLarge);
            }
            whole.extend_from_slice(&chunk);
        }
        let mut response = Response::new(whole);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// The whole chain of causes, without the URL: a query could hold what must not be logged.
fn failed(error: reqwest::Error) -> Unreachable {
    Unreachable::Failed(causes(&error.without_url()))
}

/// Bytes. Metadata, keys and token answers are a few KiB.
const LARGEST_ANSWER: usize = 256 * 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(10);
