//! `idp.resource_indicator`: how the IdP is told which resource a login is for.

use crate::config::check::choice;
use crate::config::field::Field;
use crate::config::problem::Reported;
use crate::config::raw::idp::{INDICATIONS, Indication, RESOURCE_SCOPE};
use crate::config::stanza::Reading;
use crate::idp::ResourceIndicator;
use crate::idp::profile::RESOURCE;
use crate::oauth::scope::is_scope_name;

pub(super) fn check(
    indicator: Field<String>,
    scope: Field<String>,
    reading: &mut Reading,
) -> Result<ResourceIndicator, Reported> {
    let indication = choice::of(indicator, Indication::None, &INDICATIONS, reading);
    let scope = match scope.optional()? {
        Some(typed) if !(is_scope_name(&typed.value) && typed.value.contains(RESOURCE)) => {
            return Err(reading.tell(typed.problem(
                format!("is not one scope with {RESOURCE} in it"),
                format!("write {RESOURCE_SCOPE:?}, or as the provider has it; what is the same for all resources belongs into idp.scopes"),
            )));
        }
        Some(typed) => typed.value,
        None => RESOURCE_SCOPE.to_owned(),
    };
    Ok(match indication? {
        Indication::None => ResourceIndicator::Never,
        Indication::Resource => ResourceIndicator::Resource,
        Indication::Audience => ResourceIndicator::Audience,
        Indication::Scope => ResourceIndicator::Scope(scope),
    })
}
