//! The words of OAuth: pure types that parse, compare and print. No I/O, no time, no configuration.

pub mod client_digest;
pub mod client_id_url;
pub mod error;
pub mod pkce;
pub mod public_url;
pub mod redirect_uri;
pub mod scope;

pub use client_digest::ClientDigest;
pub use client_id_url::{ClientIdUrl, NotAClientIdUrl};
pub use error::ErrorCode;
pub use pkce::CodeChallenge;
pub use public_url::PublicUrl;
pub use redirect_uri::{RedirectUri, RegisteredRedirectUri};
pub use scope::Scopes;
