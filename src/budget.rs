//! How often something may be done: from one address, and by all whose address is not known.
//!
//! A bucket is one number, the time until which its tokens are spent (GCRA). Addresses that are silent are
//! forgotten first, so a flood from many of them fills no memory. It costs others nothing: what is counted is
//! cheap, and who pays for a flood with addresses gets what each of them would.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;
use crate::wire::Caller;

/// `burst` at once, then one each `interval`.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: u32,
    pub interval: Duration,
}

#[derive(Debug)]
pub struct Budget {
    each: Rate,
    unknown: Rate,
    by_block: Cache<Block, Arc<Bucket>>,
    together: Bucket,
}

/// Nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, {}", match .by { SpentBy::Address => "from one address", SpentBy::Everybody => "from unknown addresses together" })]
pub struct Exhausted {
    pub by: SpentBy,
    /// When there is something again. At least a second.
    pub retry_after: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpentBy {
    Address,
    Everybody,
}

/// What one party is given: an IPv4 address, or a whole /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// Milliseconds since 1970 until which it is spent.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Budget {
    /// `unknown` is for all callers together whose address is not known.
    pub fn new(each: Rate, unknown: Rate) -> Self {
        Self { each, unknown, by_block: Cache::new(MOST_BLOCKS), together: Bucket::default() }
    }

    /// Take one for `caller`. Those whose address is not known (everybody seems to come from the ingress)
    /// share one budget.
    pub fn spend(&self, caller: Caller, now: Timestamp) -> Result<(), Exhausted> {
        let exhausted = |by| move |retry_after| Exhausted { by, retry_after };
        match caller {
            Caller::Address(address) => {
                let bucket = self.bucket(Block::of(address));
                bucket.spend(self.each, now).map_err(exhausted(SpentBy::Address))
            }
            Caller::Unknown => {
                self.together.spend(self.unknown, now).map_err(exhausted(SpentBy::Everybody))
            }
        }
    }

    fn bucket(&self, block: Block) -> Arc<Bucket> {
        let made = self.by_block.get_or_insert_with(&block, || Ok::<_, ()>(Arc::default()));
        made.unwrap_or_default()
    }
}

impl Bucket {
    fn spend(&self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        let milliseconds =
            |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = now.seconds().saturating_mul(1000);
        let interval = milliseconds(rate.interval);
        let most = now.saturating_add(interval.saturating_mul(u64::from(rate.burst)));
        let one_more = |until: u64| {
            let next = until.max(now).saturating_add(interval);
            (next <= most).then_some(next)
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(()),
            Err(until) => {
                let wait = until.saturating_add(interval).saturating_sub(most);
                Err(Duration::from_millis(wait).max(Duration::from_secs(1)))
            }
        }
    }
}

impl Block {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(*address.octets().first_chunk().unwrap_or(&[0; 8])),
        }
    }
}

/// Some MiB when all are taken.
const MOST_BLOCKS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn caller(address: &str) -> Caller {
        Caller::Address(address.parse().unwrap())
    }

    fn budget(each: u32, unknown: u32) -> Budget {
        let rate = |burst| Rate { burst, interval: SECOND * 10 };
        Budget::new(rate(each), rate(unknown))
    }

    #[test]
    fn what_was_spent_comes_back_in_time() {
        let budget = budget(3, 100);
        let spend = |after| budget.spend(caller("192.0.2.1"), NOW.after(SECOND * after));

        for _ in 0..3 {
            spend(0).unwrap();
        }
        let refused = spend(0).unwrap_err();
        assert_eq!(refused, Exhausted { by: SpentBy::Address, retry_after: SECOND * 10 });
        assert_eq!(spend(9).unwrap_err().retry_after, SECOND);
        spend(10).unwrap();
        assert!(spend(10).is_err());
        for _ in 0..3 {
            spend(3600).unwrap();
        }
        assert!(spend(3600).is_err());
    }

    #[test]
    fn one_address_does_not_spend_for_another() {
        let budget = budget(1, 100);
        budget.spend(caller("192.0.2.1"), NOW).unwrap();

        assert!(budget.spend(caller("192.0.2.1"), NOW).is_err());
        assert!(budget.spend(caller("::ffff:192.0.2.1"), NOW).is_err());
        budget.spend(caller("192.0.2.2"), NOW).unwrap();
        budget.spend(caller("2001:db8::1"), NOW).unwrap();
        assert!(budget.spend(caller("2001:db8::ffff:1"), NOW).is_err(), "the same /64");
        budget.spend(caller("2001:db8:0:1::1"), NOW).unwrap();
    }

    #[test]
    fn unknown_callers_share_a_budget() {
        let budget = budget(1, 2);
        for _ in 0..2 {
            budget.spend(Caller::Unknown, NOW).unwrap();
        }

        assert_eq!(budget.spend(Caller::Unknown, NOW).unwrap_err().by, SpentBy::Everybody);
        budget.spend(caller("192.0.2.1"), NOW).unwrap();
    }

    /// A million addresses: what they take is bounded, and the quiet ones are forgotten.
    #[test]
    fn a_flood_of_addresses_is_forgotten() {
        let budget = budget(1, u32::MAX);

        for n in 0..1_000_000_u32 {
            budget.spend(Caller::Address(IpAddr::V4(n.into())), NOW).unwrap();
        }

        // Whoever comes after it finds a budget of their own.
        budget.spend(caller("2001:db8::1"), NOW).unwrap();
        assert!(budget.by_block.len() <= MOST_BLOCKS);
    }
}
