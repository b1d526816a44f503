//! What goes on besides answering requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::admin::health::Readiness;
use crate::grants::{GrantId, Grants};
use crate::idp::Idp;
use crate::proxy::upstream;
use crate::wire::UpstreamUrl;

/// Ask the IdP about itself until it answers, so that the first login need not wait, and an operator
/// sees in the log at once whether it can be reached.
pub async fn find_idp(idp: Arc<Idp>) {
    let mut pause = Duration::from_secs(1);
    while idp.discovered().await.is_err() {
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    tracing::info!(idp = idp.issuer(), "the IdP answers");
}

/// Be ready once every upstream has accepted a connection.
pub async fn await_upstreams(upstreams: Vec<UpstreamUrl>, readiness: Arc<Readiness>) {
    for url in upstreams {
        while !upstream::accepts(&url).await {
            sleep(Duration::from_millis(500)).await;
        }
        tracing::info!(upstream = %url.authority, "the upstream accepts connections");
    }
    readiness.upstreams_seen();
}

/// Write down which generations are in use.
pub async fn confirm_generations(grants: Grants, mut seen: mpsc::Receiver<(GrantId, u32)>) {
    while let Some((grant, generation)) = seen.recv().await {
        if let Err(fault) = grants.confirm(grant, generation).await {
            tracing::warn!(grant_id = %grant, %fault, "generation not confirmed");
        }
    }
}
