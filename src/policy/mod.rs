//! Whether a verified token may use a resource.

pub mod access;
mod admitted;
pub mod resource;
pub mod silence;
mod upstream_server;

pub use access::{Access, AccessEntry, ClaimRule};
pub use admitted::{Admitted, Denied, decide};
pub use resource::Resource;
pub use upstream_server::{UpstreamDeadlines, UpstreamServer};
