//! Tokens that were verified before, by hash: opening one again costs more than finding it here.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::secret;
use crate::token::verified::TokenFacts;

/// Keyed by SHA-256, so that no token is kept. What is found still has to be unexpired and unrevoked.
#[derive(Debug)]
pub(super) struct VerifiedCache(Cache<CacheKey, Arc<TokenFacts>, BySize>);

pub(super) type CacheKey = [u8; 32];

/// People with hundreds of groups weigh more than others.
#[derive(Clone, Debug)]
struct BySize;

impl Weighter<CacheKey, Arc<TokenFacts>> for BySize {
    fn weight(&self, _: &CacheKey, facts: &Arc<TokenFacts>) -> u64 {
        facts.size() as u64
    }
}

impl VerifiedCache {
    pub fn new() -> Self {
        Self(Cache::with_weighter(TYPICAL_TOKENS, MOST_BYTES, BySize))
    }

    pub fn key(token: &[u8]) -> CacheKey {
        secret::sha256(token)
    }

    /// Of a token that says itself whom it is for: what was judged for one resource is not for another.
    pub fn key_at(token: &[u8], resource: &[u8; 16]) -> CacheKey {
        secret::sha256(&[&secret::sha256(token)[..], resource].concat())
    }

    pub fn find(&self, key: &CacheKey) -> Option<Arc<TokenFacts>> {
        self.0.get(key)
    }

    pub fn keep(&self, key: CacheKey, facts: &Arc<TokenFacts>) {
        self.0.insert(key, Arc::clone(facts));
    }
}

const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Of about 600 bytes each.
const TYPICAL_TOKENS: usize = 14_000;
