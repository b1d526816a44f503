//! Asking the IdP again about a person (OIDC Core §12): with the refresh token of their login, as long as
//! the IdP renews it, they may go on. Where access tokens last, with that, as long as it is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::idp::Idp;
use crate::idp::discovery::DiscoveryFault;
use crate::idp::id_token::Expected;
use crate::idp::identity::Identity;
use crate::idp::person::USER_RESOURCE;
use crate::idp::profile::RecheckWith;
use crate::idp::resource::{self, ResourceFault};
use crate::idp::token_endpoint::LoginFault;
use crate::outbound::Unreachable;
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
    /// It was not asked: it answered nobody a moment ago.
    Silent,
}

impl Verdict {
    /// Did the IdP answer, and refuse to go on with this token for a reason that is none of ours? Some have no
    /// better word for a person who is gone than `invalid_request`. It may still mean that we asked wrongly.
    pub fn is_unclear_refusal(&self) -> bool {
        match self {
            Self::Unknown(LoginFault::Refused { status, error }) => {
                *status < 500 && *status != 429 && !NOT_ABOUT_THEM.contains(&error.as_str())
            }
            Self::Unknown(_) | Self::Vouched(_) | Self::Refused(_) | Self::Silent => false,
        }
    }
}

impl Idp {
    /// Does the IdP still vouch for the person whose login, for `resource`, brought `refresh_token`?
    pub async fn recheck(self: &Arc<Self>, refresh_token: &Secret, resource: &str) -> Recheck {
        // Closed never.
        let _one_of_few = self.rechecks.acquire().await;
        if self.is_silent() {
            return Recheck { verdict: Verdict::Silent, refresh_token: None };
        }
        let (verdict, refresh_token) = self.renew(refresh_token, resource).await;
        // An answer, even an error, shows that somebody is there.
        let until = match &verdict {
            Verdict::Unknown(fault) if is_silence(fault) => self.clock.now().after(SILENCE),
            Verdict::Vouched(_) | Verdict::Refused(_) | Verdict::Unknown(_) | Verdict::Silent => {
                Timestamp::from_seconds(0)
            }
        };
        self.silent_until.store(until.seconds(), Ordering::Relaxed);
        Recheck { verdict, refresh_token }
    }

    /// A hundred clients that refresh while it is down need not all wait for it.
    fn is_silent(&self) -> bool {
        let now = self.clock.now();
        let until = Timestamp::from_seconds(self.silent_until.load(Ordering::Relaxed));
        // What lies further ahead was written by a clock that has been set back.
        now < until && until <= now.after(SILENCE)
    }

    async fn renew(self: &Arc<Self>, token: &Secret, resource: &str) -> (Verdict, Option<Secret>) {
        if let Some(access_token) = self.unmarked(token) {
            return (self.ask_with_access_token(access_token).await, None);
        }
        let discovered = match self.discovered().await {
            Ok(discovered) => discovered,
            Err(fault) => return (Verdict::Unknown(fault.into()), None),
        };
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
        let answer = self.ask_for_tokens(&discovered, &grant, resource, LONGEST_WAIT).await;
        let verdict = match answer.tokens {
            Ok(tokens) => match self.person_of(&tokens, Expected::NoNonce, &discovered).await {
                Ok(told) => Verdict::Vouched(told.map(|told| told.person)),
                Err(fault) => Verdict::Unknown(fault),
            },
            Err(LoginFault::Refused { error, .. }) if self.is_refusal(&error) => {
                Verdict::Refused(error)
            }
            Err(fault) => Verdict::Unknown(fault),
        };
        (verdict, answer.refresh_token)
    }

    /// An access token that lasts until somebody withdraws it.
    async fn ask_with_access_token(&self, access_token: &str) -> Verdict {
        match self.at_user_resource(access_token, resource::patience()).await {
            Ok(person) => Verdict::Vouched(Some(person)),
            // RFC 6750 §3.1. Of a lookup that follows it would say nothing about the person.
            Err(LoginFault::Resource {
                what: USER_RESOURCE,
                fault: ResourceFault::Status(401),
            }) => Verdict::Refused("invalid_token".to_owned()),
            Err(fault) => Verdict::Unknown(fault),
        }
    }

    fn is_refusal(&self, error: &str) -> bool {
        REFUSALS.contains(&error) || self.settings.refusals.iter().any(|own| own == error)
    }

    /// A token as it came, and what kind it is (RFC 7009 §2.1).
    pub(super) fn kept<'a>(&self, token: &'a Secret) -> (&'a str, &'static str) {
        match self.unmarked(token) {
            Some(access_token) => (access_token, "access_token"),
            None => (token.expose(), "refresh_token"),
        }
    }

    /// `None` if it is a refresh token.
    fn unmarked<'a>(&self, token: &'a Secret) -> Option<&'a str> {
        match self.settings.recheck_with {
            RecheckWith::AccessToken => token.expose().strip_prefix(ACCESS_TOKEN),
            RecheckWith::RefreshToken | RecheckWith::Nothing => None,
        }
    }
}

/// Written into the place of a refresh token.
pub(super) fn marked(access_token: &str) -> Secret {
    Secret::new(format!("{ACCESS_TOKEN}{access_token}"))
}

/// Did nobody answer at all?
fn is_silence(fault: &LoginFault) -> bool {
    match fault {
        LoginFault::Unreachable(fault) => is_no_answer(fault),
        LoginFault::Discovery(fault) => match &**fault {
            DiscoveryFault::Unreachable { fault, .. } => is_no_answer(fault),
            DiscoveryFault::Status { .. }
            | DiscoveryFault::Garbled { .. }
            | DiscoveryFault::AnotherIssuer { .. }
            | DiscoveryFault::NoEndpoint(_)
            | DiscoveryFault::NotHttps(_)
            | DiscoveryFault::NoKeys => false,
        },
        LoginFault::Resource { fault: ResourceFault::Unreachable(fault), .. } => {
            is_no_answer(fault)
        }
        LoginFault::Resource { .. }
        | LoginFault::Refused { .. }
        | LoginFault::Garbled(_)
        | LoginFault::IdToken(_)
        | LoginFault::Claims(_) => false,
    }
}

fn is_no_answer(fault: &Unreachable) -> bool {
    match fault {
        Unreachable::Failed(_) => true,
        Unreachable::TooLarge => false,
    }
}

/// The errors that speak of the person and not of us (RFC 6749 §5.2, OIDC Core §3.1.2.6).
const REFUSALS: [&str; 4] =
    ["invalid_grant", "interaction_required", "login_required", "consent_required"];

/// About us, about the IdP, or no error code at all: a page that stands in its way.
const NOT_ABOUT_THEM: [&str; 10] = [
    "",
    "invalid_client",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "slow_down",
    "temporarily_unavailable",
    "unauthorized_client",
    "unreadable",
    "unsupported_grant_type",
];

/// No refresh token looks like it.
const ACCESS_TOKEN: &str = "access token ";

/// How long an IdP that did not answer is not asked again.
const SILENCE: Duration = Duration::from_secs(10);

/// A slow IdP may have replaced its refresh token already, which must not be lost. No client waits this long.
const LONGEST_WAIT: Duration = Duration::from_secs(40);

/// At the same time. A provider's budget for one application is not large.
pub(super) const MOST_RECHECKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::idp::IdpSettings;
    use crate::outbound::IdpConnection;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn idp() -> Idp {
        let issuer = "http://127.0.0.1:9".to_owned();
        let settings = IdpSettings::openid_provider(issuer, String::new());
        let connection = IdpConnection::to(&settings.issuer).unwrap();
        let clock = Clock::Manual(ManualClock::starting_at(NOW));
        Idp::new(settings, String::new(), connection, clock)
    }

    /// It did not answer while our clock was ten days ahead: that silences nobody for ten days.
    #[test]
    fn a_silence_from_the_future_is_none() {
        let idp = idp();
        let until = |time: Timestamp| idp.silent_until.store(time.seconds(), Ordering::Relaxed);

        until(NOW.after(SILENCE));
        assert!(idp.is_silent());
        until(NOW);
        assert!(!idp.is_silent());
        until(NOW.after(Duration::from_hours(240)));

        assert!(!idp.is_silent());
    }
}
