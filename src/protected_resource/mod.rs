//! The protected resource: what MCP clients see of the server before they have a token.

pub mod challenge;
pub mod connect;
pub mod guard;
pub mod metadata;
pub mod origin;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::pages::{BrokenTemplate, Pages};
use crate::policy::Resource;

use challenge::{Challenges, Unwritable};
use origin::Origins;

/// A ready answer of a resource could not be made: a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error(transparent)]
    Challenge(#[from] Unwritable),
    #[error(transparent)]
    Page(#[from] BrokenTemplate),
}

/// A resource with the answers that stand as long as the config.
#[derive(Debug)]
pub struct ProtectedResource {
    pub resource: Arc<Resource>,
    pub challenges: Challenges,
    connect_page: Bytes,
    pub origins: Origins,
}

impl ProtectedResource {
    /// `allowed_origins` may call besides the resource's own and loopback ones.
    pub fn new(
        resource: Arc<Resource>,
        allowed_origins: &[HeaderValue],
        pages: &Pages,
    ) -> Result<Self, NotReady> {
        let url = resource.url.as_str();
        let name = resource.name.as_deref().unwrap_or(url);
        Ok(Self {
            challenges: Challenges::of(&resource)?,
            connect_page: pages.connect(name, url)?.into(),
            origins: Origins::new(resource.url.origin(), allowed_origins.to_vec()),
            resource,
        })
    }
}
