//! How long the IdP's word about a person holds, and when it has to be asked again.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::grants::Lifetimes;
use crate::secret::Secret;

/// The IdP's word about a person, as the row of their grant keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// When the IdP last vouched for the person.
    pub last_ok: Timestamp,
    /// Since then it was asked, and did not say.
    pub asked_in_vain: bool,
    /// What it can be asked with. `None`: it can't be asked again without the person.
    pub refresh_token: Option<IdpToken>,
}

/// A refresh token of the IdP's. Stored inside a sealed row only, and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdpToken(Zeroizing<String>);

impl IdpToken {
    pub fn new(token: &Secret) -> Self {
        Self(Zeroizing::new(token.expose().to_owned()))
    }

    pub fn secret(&self) -> Secret {
        Secret::new(self.0.to_string())
    }
}

impl fmt::Debug for IdpToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[refresh token of the IdP]")
    }
}

impl Vouch {
    pub fn at(now: Timestamp, refresh_token: Option<&Secret>) -> Self {
        let refresh_token = refresh_token.map(IdpToken::new);
        Self { last_ok: now, asked_in_vain: false, refresh_token }
    }

    /// Until when access tokens may live: who leaves is out after `recheck_after`, and an IdP that was
    /// asked and is down logs nobody out for `recheck_grace` more. Even then each token is short, so that
    /// the IdP is asked again soon.
    pub fn holds_until(&self, lifetimes: &Lifetimes, now: Timestamp) -> Timestamp {
        let word = self.last_ok.after(lifetimes.recheck_after);
        match (&self.refresh_token, self.asked_in_vain) {
            (None, _) => self.last_ok.after(lifetimes.recheck_grace),
            (Some(_), false) => word,
            (Some(_), true) => {
                word.after(lifetimes.recheck_grace).min(now.after(lifetimes.recheck_after))
            }
        }
    }

    /// Is the IdP's last word still good, however short?
    pub fn word_holds(&self, lifetimes: &Lifetimes, now: Timestamp) -> bool {
        now < self.last_ok.after(lifetimes.recheck_after)
    }

    /// Must the IdP be asked before new tokens are issued? As soon as they would live for less than half
    /// of what they could, and if its word is from the future: then our clock was wrong.
    pub fn is_stale(&self, lifetimes: &Lifetimes, now: Timestamp) -> bool {
        let enough = lifetimes.access.min(lifetimes.recheck_after) / 2;
        let fresh = lifetimes.recheck_after.saturating_sub(enough);
        let is_fresh = (self.last_ok..self.last_ok.after(fresh)).contains(&now);
        self.refresh_token.is_some() && !is_fresh
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LOGIN: Timestamp = Timestamp::from_seconds(1_790_000_000);
    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn lifetimes(access: Duration, recheck_after: Duration) -> Lifetimes {
        let recheck_grace = HOUR * 12;
        Lifetimes {
            access,
            refresh: HOUR * 99,
            grant: HOUR * 999,
            recheck_after,
            recheck_grace,
            not_before: Timestamp::from_seconds(0),
        }
    }

    fn vouch() -> Vouch {
        Vouch::at(LOGIN, Some(&Secret::new("idp".to_owned())))
    }

    /// A check that is 59 minutes old does not give a leaver two hours.
    #[test]
    fn tokens_never_outlive_the_word_of_the_idp() {
        let hourly = lifetimes(HOUR, HOUR);

        let now = LOGIN.after(MINUTE * 59);
        assert_eq!(vouch().holds_until(&hourly, now), LOGIN.after(HOUR));
        let unasked = Vouch { refresh_token: None, ..vouch() };
        assert_eq!(unasked.holds_until(&hourly, now), LOGIN.after(HOUR * 12));
    }

    /// One blip does not hand out a token that nobody asks about for half a day.
    #[test]
    fn what_is_issued_in_vain_is_short() {
        let daily = lifetimes(HOUR * 24, HOUR);
        let in_vain = Vouch { asked_in_vain: true, ..vouch() };

        let at = |now: Timestamp| in_vain.holds_until(&daily, now);
        assert_eq!(at(LOGIN.after(MINUTE * 40)), LOGIN.after(MINUTE * 100));
        assert_eq!(at(LOGIN.after(HOUR * 12 + MINUTE * 30)), LOGIN.after(HOUR * 13));
    }

    #[test]
    fn the_idp_is_asked_before_tokens_get_too_short() {
        for (access, recheck_after, stale_from) in [
            (HOUR, HOUR, MINUTE * 30),
            (MINUTE * 5, HOUR, Duration::from_secs(57 * 60 + 30)),
            (HOUR * 24, HOUR, MINUTE * 30),
            (MINUTE, MINUTE, MINUTE / 2),
        ] {
            let lifetimes = lifetimes(access, recheck_after);
            let just_before = LOGIN.after(stale_from.saturating_sub(Duration::from_secs(1)));
            assert!(!vouch().is_stale(&lifetimes, just_before), "{access:?}");
            assert!(vouch().is_stale(&lifetimes, LOGIN.after(stale_from)), "{access:?}");
        }
    }

    /// A login while the clock was ten days ahead is not left alone for ten days.
    #[test]
    fn a_word_from_the_future_is_asked_for_again() {
        let yesterday = Timestamp::from_seconds(LOGIN.seconds() - 86_400);

        assert!(vouch().is_stale(&lifetimes(HOUR, HOUR), yesterday));
    }

    #[test]
    fn an_idp_that_gave_no_refresh_token_is_not_asked() {
        let unasked = Vouch { refresh_token: None, ..vouch() };

        assert!(!unasked.is_stale(&lifetimes(HOUR, HOUR), LOGIN.after(HOUR * 11)));
    }

    #[test]
    fn the_token_of_the_idp_is_not_printed() {
        assert!(!format!("{:?}", vouch()).contains("\"idp\""));
    }
}
