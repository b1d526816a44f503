//! How many connections each address has open, so that one of them does not take all that there can be.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::budget::Block;

/// Who may connect. Clones share what is counted.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// `None`: nothing is counted.
    most: Option<NonZeroUsize>,
    /// Whose connections are not counted.
    spared: Arc<ArcSwap<Vec<IpNet>>>,
    open: Open,
}

/// How many are open. No more than there are connections, which have their limit.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<HashMap<Block, usize>>>);

/// One connection is open. Dropped with it.
#[derive(Debug)]
pub struct Seat(Option<(Open, Block)>);

/// The address has all that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl Peers {
    /// At most `most` from each address, but for those in `spared`.
    pub fn new(most: Option<NonZeroUsize>, spared: Vec<IpNet>) -> Self {
        Self { most, spared: Arc::new(ArcSwap::from_pointee(spared)), open: Open::default() }
    }

    /// From now on connections of these are not counted, and of no others.
    pub fn spare(&self, ranges: Vec<IpNet>) {
        self.spared.store(Arc::new(ranges));
    }

    pub fn most(&self) -> Option<NonZeroUsize> {
        self.most
    }

    /// One more from `peer`.
    pub fn admit(&self, peer: IpAddr) -> Result<Seat, Crowded> {
        let peer = peer.to_canonical();
        let Some(most) = self.most else { return Ok(Seat(None)) };
        if self.spared.load().iter().any(|range| range.contains(&peer)) {
            return Ok(Seat(None));
        }
        let block = Block::of(peer);
        let mut open = self.open.lock();
        let count = open.entry(block).or_default();
        if *count >= most.get() {
            return Err(Crowded);
        }
        *count += 1;
        drop(open);
        Ok(Seat(Some((self.open.clone(), block))))
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<Block, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((open, block)) = &self.0 else { return };
        if let Entry::Occupied(mut count) = open.lock().entry(*block) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(most: usize) -> Peers {
        Peers::new(NonZeroUsize::new(most), vec!["10.0.0.0/8".parse().unwrap()])
    }

    /// The operator named the ingress while the process runs.
    #[test]
    fn who_is_spared_from_now_on_is_not_counted() {
        let peers = peers(1);
        let ingress = "192.0.2.1".parse().unwrap();
        let _seat = peers.admit(ingress).unwrap();
        assert!(peers.admit(ingress).is_err());

        peers.clone().spare(vec!["192.0.2.0/24".parse().unwrap()]);

        assert!(peers.admit(ingress).is_ok());
    }

    /// Threat F6 of the design.
    #[test]
    fn one_address_has_no_more_than_its_share() {
        let peers = peers(2);
        let admit = |address: &str| peers.admit(address.parse().unwrap());

        let mut seats = vec![admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap()];

        assert!(admit("192.0.2.1").is_err());
        seats.push(admit("192.0.2.2").unwrap());
        seats.push(admit("2001:db8::1").unwrap());
        seats.push(admit("2001:db8::2").unwrap());
        assert!(admit("2001:db8::3").is_err(), "the same /64");
        seats.push(admit("2001:db8:0:1::1").unwrap());
        seats.remove(0);
        seats.push(admit("192.0.2.1").unwrap());
        assert!(admit("192.0.2.1").is_err());
        drop(seats);
        assert!(peers.open.lock().is_empty(), "who has gone is not remembered");
    }

    #[test]
    fn some_are_not_counted() {
        let peers = peers(1);
        for address in ["10.1.2.3", "::ffff:10.1.2.3"] {
            let seats: Vec<_> = (0..5).map(|_| peers.admit(address.parse().unwrap())).collect();
            assert!(seats.iter().all(Result::is_ok), "{address}");
        }
        assert!(peers.open.lock().is_empty());
    }
}
