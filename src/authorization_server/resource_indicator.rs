//! Which resource a client means by `resource` (RFC 8707), at the authorization and token endpoints.

use std::sync::Arc;

use crate::authorization_server::AuthorizationServer;
use crate::authorization_server::error::Refused;
use crate::grants::Grant;
use crate::oauth::ErrorCode;
use crate::policy::Resource;
use crate::wire::Form;

/// No resource of ours, or more than one: `invalid_target` (RFC 8707 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTarget;

/// The one resource that all `values` name; without any, the only one there is (older clients don't
/// send `resource`).
pub fn named<'a>(
    resources: &[Arc<Resource>],
    values: impl Iterator<Item = &'a str>,
) -> Result<Arc<Resource>, InvalidTarget> {
    let mut chosen: Option<Arc<Resource>> = None;
    for value in values {
        let resource = named_by(resources, value)?;
        match &chosen {
            Some(other) if other.digest != resource.digest => return Err(InvalidTarget),
            _ => chosen = Some(resource),
        }
    }
    match (chosen, resources) {
        (Some(chosen), _) => Ok(chosen),
        (None, [only]) => Ok(Arc::clone(only)),
        (None, _) => Err(InvalidTarget),
    }
}

fn named_by(resources: &[Arc<Resource>], value: &str) -> Result<Arc<Resource>, InvalidTarget> {
    if let Some(exact) = by_url(resources, value) {
        return Ok(Arc::clone(exact));
    }
    let mut candidates = resources.iter().filter(|resource| resource.url.is_named_by(value));
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(Arc::clone(only)),
        (_, _) => Err(InvalidTarget),
    }
}

/// The resource with exactly this URL.
pub fn by_url<'a>(resources: &'a [Arc<Resource>], url: &str) -> Option<&'a Arc<Resource>> {
    resources.iter().find(|resource| resource.url.as_str() == url)
}

/// The resource of `grant`, if the request names no other (RFC 8707 §2.2) and it is still served here.
pub fn granted(
    server: &AuthorizationServer,
    form: &Form,
    grant: &Grant,
) -> Result<Arc<Resource>, Refused> {
    let resource = by_url(&server.resources, &grant.resource).ok_or(NO_LONGER_SERVED)?;
    // A parent's name may stand for the resource, but not if it is another resource's own.
    let names_it = |value: &str| match by_url(&server.resources, value) {
        Some(exact) => exact.digest == resource.digest,
        None => resource.url.is_named_by(value),
    };
    if form.all("resource").all(names_it) {
        Ok(Arc::clone(resource))
    } else {
        Err(ANOTHER_RESOURCE)
    }
}

const NO_LONGER_SERVED: Refused =
    Refused::new(ErrorCode::InvalidGrant, "the resource of this login is no longer served here");
const ANOTHER_RESOURCE: Refused =
    Refused::new(ErrorCode::InvalidTarget, "resource differs from the one of the login");
