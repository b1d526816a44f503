//! Tokens that were verified before, by hash: opening one again costs more than finding it here.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::secret;
use crate::token::verified::TokenFacts;

/// Keyed by SHA-256, so that no token is kept. What is found still has to be unexpired and unrevoked.
#[derive(Debug)]
pub(super) struct VerifiedCache(Cache<[u8; 32], Arc<TokenFacts>>);

pub(super) type CacheKey = [u8; 32];

impl VerifiedCache {
    pub fn new() -> Self {
        Self(Cache::new(MOST_TOKENS))
    }

    pub fn key(token: &[u8]) -> CacheKey {
        secret::sha256(token)
    }

    pub fn find(&self, key: &CacheKey) -> Option<Arc<TokenFacts>> {
        self.0.get(key)
    }

    pub fn keep(&self, key: CacheKey, facts: &Arc<TokenFacts>) {
        self.0.insert(key, Arc::clone(facts));
    }
}

/// About 500 bytes each.
const MOST_TOKENS: usize = 16_384;
