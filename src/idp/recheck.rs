//! Asking the IdP again about a person (OIDC Core §12): with the refresh token of their login, as long as
//! the IdP renews it, they may go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::idp::Idp;
use crate::idp::id_token::Expected;
use crate::idp::identity::Identity;
use crate::idp::token_endpoint::{LoginFault, Tokens};
use crate::secret::Secret;

/// What came of asking.
#[derive(Debug)]
pub struct Recheck {
    pub verdict: Verdict,
    /// The IdP replaced the refresh token: the old one may be worthless now, whatever the verdict.
    pub refresh_token: Option<Secret>,
}

#[derive(Debug)]
pub enum Verdict {
    /// The IdP vouches for the person. `None` if it said nothing new about who they are.
    Vouched(Option<Identity>),
    /// The IdP says no, with this error code.
    Refused(String),
    /// The IdP did not say: it is down, or it does not know *us* any more, as when our own client secret
    /// has expired. Nobody may be logged out for that.
    Unknown(LoginFault),
}

impl Idp {
    /// Does the IdP still vouch for the person whose login brought `refresh_token`?
    pub async fn recheck(self: &Arc<Self>, refresh_token: &Secret) -> Recheck {
        if self.clock.now().seconds() < self.silent_until.load(Ordering::Relaxed) {
            return Recheck::unknown(LoginFault::Silent);
        }
        match self.renew(refresh_token).await {
            Ok((person, refresh_token)) => {
                Recheck { verdict: Verdict::Vouched(person), refresh_token }
            }
            Err((LoginFault::Refused { error, .. }, _)) if REFUSALS.contains(&error.as_str()) => {
                Recheck { verdict: Verdict::Refused(error), refresh_token: None }
            }
            Err((fault, refresh_token)) => {
                if fault.is_passing() {
                    // A hundred clients that refresh while it is down need not all wait for it.
                    let until = self.clock.now().after(SILENCE).seconds();
                    self.silent_until.store(until, Ordering::Relaxed);
                }
                Recheck { verdict: Verdict::Unknown(fault), refresh_token }
            }
        }
    }

    async fn renew(
        self: &Arc<Self>,
        refresh_token: &Secret,
    ) -> Result<(Option<Identity>, Option<Secret>), (LoginFault, Option<Secret>)> {
        let discovered = self.discovered().await.map_err(|fault| (fault.into(), None))?;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
        let answer = self.ask_for_tokens(&discovered, &grant).await;
        let Tokens { access_token, id_token, refresh_token } =
            answer.map_err(|fault| (fault, None))?;
        let Some(id_token) = id_token else { return Ok((None, refresh_token)) };
        let read = self.read_id_token(&id_token, &access_token, Expected::NoNonce, &discovered);
        match read.await {
            Ok(person) => Ok((Some(person), refresh_token)),
            Err(fault) => Err((fault, refresh_token)),
        }
    }
}

impl Recheck {
    fn unknown(fault: LoginFault) -> Self {
        Self { verdict: Verdict::Unknown(fault), refresh_token: None }
    }
}

/// The errors that speak of the person and not of us (RFC 6749 §5.2, OIDC Core §3.1.2.6).
const REFUSALS: [&str; 4] =
    ["invalid_grant", "interaction_required", "login_required", "consent_required"];

/// How long an IdP that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(10);
