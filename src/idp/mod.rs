//! The client of the IdP: sends the person to log in and learns who they are.

pub mod discovery;
pub mod exchange;
pub mod identity;
pub mod login;
pub mod profile;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::outbound::IdpConnection;

pub use discovery::{Discovered, DiscoveryFault};
pub use exchange::LoginFault;
pub use identity::Identity;
pub use profile::{ClientAuthentication, IdpSettings};

/// The IdP: its settings, and what it published about itself when we last asked.
#[derive(Debug)]
pub struct Idp {
    settings: IdpSettings,
    redirect_uri: String,
    connection: IdpConnection,
    clock: Clock,
    discovered: ArcSwapOption<Discovered>,
    /// Held while asking, so that a hundred logins ask once.
    asking: Mutex<LastAsked>,
}

#[derive(Debug, Default)]
struct LastAsked(Option<Timestamp>);

impl Idp {
    /// `redirect_uri` is our callback, exactly as registered at the IdP.
    pub fn new(
        settings: IdpSettings,
        redirect_uri: String,
        connection: IdpConnection,
        clock: Clock,
    ) -> Self {
        Self {
            settings,
            redirect_uri,
            connection,
            clock,
            discovered: ArcSwapOption::empty(),
            asking: Mutex::default(),
        }
    }

    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// What the IdP published, asked for anew when it is old. While the IdP can't be reached, the last
    /// good answer goes on serving; an error comes only if there never was one.
    pub async fn discovered(&self) -> Result<Arc<Discovered>, DiscoveryFault> {
        self.no_older_than(REFRESH_AFTER).await
    }

    /// The IdP signed with a key that we don't have: ask again, but not for every forged token.
    async fn discovered_anew(&self) -> Result<Arc<Discovered>, DiscoveryFault> {
        self.no_older_than(UNKNOWN_KEY_COOLDOWN).await
    }

    async fn no_older_than(&self, age: Duration) -> Result<Arc<Discovered>, DiscoveryFault> {
        let is_fresh = |known: &Arc<Discovered>| known.at.after(age) > self.clock.now();
        if let Some(known) = self.discovered.load_full().filter(is_fresh) {
            return Ok(known);
        }
        let mut last_asked = self.asking.lock().await;
        let known = self.discovered.load_full();
        if let Some(known) = known.clone().filter(is_fresh) {
            return Ok(known);
        }
        // An IdP that was just found dead is left alone for a moment while its last answer can serve.
        let asked_just_now =
            last_asked.0.is_some_and(|at| at.after(RETRY_AFTER) > self.clock.now());
        if let (Some(known), true) = (known.clone(), asked_just_now) {
            return Ok(known);
        }
        last_asked.0 = Some(self.clock.now());
        match discovery::ask(&self.connection, &self.settings, self.clock.now()).await {
            Ok(discovered) => {
                let discovered = Arc::new(discovered);
                self.discovered.store(Some(Arc::clone(&discovered)));
                Ok(discovered)
            }
            Err(fault) => {
                tracing::warn!(idp = self.issuer(), fault = %fault, "the IdP did not answer");
                known.ok_or(fault)
            }
        }
    }
}

/// Metadata and keys are asked for again after this long.
const REFRESH_AFTER: Duration = Duration::from_mins(10);
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_secs(5);
