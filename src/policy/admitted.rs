//! The permit: a verified token, a resource, and a policy that said yes.

use std::sync::Arc;

use crate::oauth::Scopes;
use crate::policy::Resource;
use crate::token::{Caller, VerifiedToken};

/// One request may go to one resource's upstream. Only `decide` makes it, `proxy::forward` consumes it.
#[derive(Debug)]
pub struct Admitted {
    token: VerifiedToken,
    resource: Arc<Resource>,
}

/// Why a good token may not be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The client can ask for more (RFC 6750 §3.1 `insufficient_scope`).
    #[error("the token lacks the scopes {0}")]
    Scopes(Scopes),
    /// No scope can mend it: the access rules don't admit this person (any more).
    #[error("the access rules do not admit this caller")]
    Rules,
    /// The token was verified for another resource. Can't happen while routing and guard agree.
    #[error("the token is for another resource")]
    AnotherResource,
}

/// May the holder of `token` use `resource`?
pub fn decide(token: VerifiedToken, resource: &Arc<Resource>) -> Result<Admitted, Denied> {
    let facts = token.facts();
    if facts.resource != resource.digest {
        return Err(Denied::AnotherResource);
    }
    let is_admitted = match &facts.caller {
        // The same rules said yes when the token was issued; other rules are asked anew.
        Caller::Person(person) => {
            facts.rules == Some(resource.rules) || resource.access.admits(person)
        }
        Caller::ServiceAccount(id) => resource.service_accounts.contains(id),
        Caller::Machine(client) => resource.access.admits_machine(client),
    };
    if !is_admitted {
        return Err(Denied::Rules);
    }
    let missing = resource.scopes.missing_from(&facts.scopes);
    if !missing.is_empty() {
        return Err(Denied::Scopes(missing));
    }
    Ok(Admitted { token, resource: Arc::clone(resource) })
}

impl Admitted {
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    pub fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }
}
