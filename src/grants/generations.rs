//! Which refresh token of a grant is good: rotation (OAuth 2.1 §4.3.1) that a lost answer, or three
//! refreshes at once, can't turn into a logout.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Tokens of a grant are numbered. Each refresh issues the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    newest: u32,
    issued_at: Timestamp,
    /// The newest access token was used, so the client has the newest tokens.
    confirmed: bool,
}

/// What a presented refresh token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Issue the next generation.
    Advance,
    /// We issued it, and the row does not know: the store has forgotten. Ask the IdP, then go on from it.
    Ahead,
    /// The client may not have got the newest: issue it again.
    Repeat,
    /// Only somebody who copied it can still have it.
    Theft,
}

impl Generations {
    pub const fn first(now: Timestamp) -> Self {
        Self { newest: 1, issued_at: now, confirmed: false }
    }

    /// Of a grant that the store lost: the client has `presented`, and nothing newer is known.
    pub const fn resumed(presented: u32, now: Timestamp) -> Self {
        Self { newest: presented, issued_at: now, confirmed: false }
    }

    pub const fn newest(&self) -> u32 {
        self.newest
    }

    /// When the newest tokens were issued.
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// What is issued next, if `presented` may go on.
    pub fn after(&self, judgement: Judgement, presented: u32, now: Timestamp) -> Option<Self> {
        match judgement {
            Judgement::Advance | Judgement::Ahead => Some(self.next(presented, now)),
            Judgement::Repeat => Some(*self),
            Judgement::Theft => None,
        }
    }

    pub fn judge(&self, presented: u32, now: Timestamp) -> Judgement {
        let is_recent = now < self.issued_at.after(RETRY_WINDOW);
        match self.newest.checked_sub(presented) {
            None => Judgement::Ahead,
            Some(0) => Judgement::Advance,
            Some(1) if !self.confirmed || is_recent => Judgement::Repeat,
            Some(2) if is_recent => Judgement::Repeat,
            Some(_) => Judgement::Theft,
        }
    }

    fn next(&self, presented: u32, now: Timestamp) -> Self {
        let newest = self.newest.max(presented).saturating_add(1);
        Self { newest, issued_at: now, confirmed: false }
    }

    /// `None` if `generation` is not the newest or nothing changes.
    pub fn confirmed(&self, generation: u32) -> Option<Self> {
        (generation == self.newest && !self.confirmed).then_some(Self { confirmed: true, ..*self })
    }
}

/// How long a token that was just replaced is taken for a retry, whatever else is known.
const RETRY_WINDOW: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: Timestamp = Timestamp::from_seconds(1_000);

    const fn at(newest: u32, confirmed: bool) -> Generations {
        Generations { newest, issued_at: ISSUED, confirmed }
    }

    #[test]
    fn each_presented_generation_has_one_meaning() {
        let soon = ISSUED.after(Duration::from_secs(59));
        let late = ISSUED.after(Duration::from_secs(60));

        for (state, presented, now, expected) in [
            (at(5, true), 5, late, Judgement::Advance),
            (at(5, false), 4, late, Judgement::Repeat),
            (at(5, true), 4, soon, Judgement::Repeat),
            (at(5, true), 4, late, Judgement::Theft),
            (at(5, false), 3, soon, Judgement::Repeat),
            (at(5, false), 3, late, Judgement::Theft),
            (at(5, false), 2, soon, Judgement::Theft),
            (at(5, false), 6, late, Judgement::Ahead),
        ] {
            assert_eq!(state.judge(presented, now), expected, "{state:?} {presented} {now:?}");
        }
    }

    #[test]
    fn after_a_rollback_of_the_store_the_next_number_is_new() {
        assert_eq!(at(5, true).next(9, ISSUED).newest(), 10);
    }

    #[test]
    fn only_the_newest_confirms_and_only_once() {
        assert_eq!(at(5, false).confirmed(5), Some(at(5, true)));
        assert_eq!(at(5, false).confirmed(4), None);
        assert_eq!(at(5, true).confirmed(5), None);
    }
}
