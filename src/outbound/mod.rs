//! The only way to the internet: to the IdP, which the operator named, and to strangers, whom nobody did.

pub mod address;
pub mod idp;
pub mod names;
pub mod stranger;

pub use idp::{IdpConnection, NoConnection, Unreachable};
pub use names::{Names, Route};
pub use stranger::{Internet, NamedBy, StrangerConnection, StrangerSettings, Unfetched};
