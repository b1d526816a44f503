//! A login that ends here ends at the IdP too: its refresh token is revoked there (RFC 7009).

use std::sync::Arc;
use std::time::Duration;

use crate::idp::token_endpoint::authenticated;
use crate::idp::{DiscoveryFault, Idp};
use crate::outbound::Unreachable;
use crate::secret::Secret;

/// Why the IdP may still take the token.
#[derive(Debug, thiserror::Error)]
pub enum RevocationFault {
    #[error("the IdP can't be used now: {0}")]
    Discovery(#[from] Arc<DiscoveryFault>),
    #[error("its metadata names no revocation endpoint that can be used")]
    NoEndpoint,
    #[error("its revocation endpoint is unreachable: {0}")]
    Unreachable(#[from] Unreachable),
    #[error("its revocation endpoint answered {0}")]
    Refused(u16),
}

impl RevocationFault {
    /// Could it be over in a minute, with nobody changing anything?
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Discovery(fault) => fault.is_passing(),
            Self::Unreachable(_) => true,
            Self::Refused(status) => *status >= 500 || *status == 429,
            Self::NoEndpoint => false,
        }
    }
}

impl Idp {
    /// Revoke `refresh_token`. An IdP that does not know it any more agrees (RFC 7009 §2.2).
    pub async fn revoke(self: &Arc<Self>, refresh_token: &Secret) -> Result<(), RevocationFault> {
        let discovered = self.discovered().await?;
        let endpoint =
            discovered.revocation_endpoint.as_ref().ok_or(RevocationFault::NoEndpoint)?;
        let (token, kind) = self.kept(refresh_token);
        let parameters = [("token", token), ("token_type_hint", kind)];
        let request = authenticated(&self.settings, endpoint, &parameters)
            .map_err(|_| RevocationFault::NoEndpoint)?;
        let answer = self.connection.send_within(request, LONGEST_WAIT).await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(RevocationFault::Refused(status.as_u16())),
        }
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(10);
