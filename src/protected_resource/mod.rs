//! The protected resource: what MCP clients see of the server before they have a token.

pub mod challenge;
pub mod guard;
pub mod metadata;
pub mod origin;

use std::sync::Arc;

use http::HeaderValue;

use crate::policy::Resource;

use challenge::{Challenges, Unwritable};
use origin::Origins;

/// A resource with the answers that stand as long as the config.
#[derive(Debug)]
pub struct ProtectedResource {
    pub resource: Arc<Resource>,
    challenges: Challenges,
    pub origins: Origins,
}

impl ProtectedResource {
    /// `allowed_origins` may call besides the resource's own and loopback ones.
    pub fn new(
        resource: Arc<Resource>,
        allowed_origins: &[HeaderValue],
    ) -> Result<Self, Unwritable> {
        Ok(Self {
            challenges: Challenges::of(&resource)?,
            origins: Origins::new(resource.url.origin(), allowed_origins.to_vec()),
            resource,
        })
    }
}
