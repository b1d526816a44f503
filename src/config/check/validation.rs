//! `idp.access_token_validation`: that what is to be asked can be asked, and that tokens of other applications
//! stay out.

use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::RawConfig;
use crate::config::raw::idp::{RawIdp, VALIDATIONS};
use crate::config::stanza::Reading;
use crate::idp::Validation;

pub(super) fn is_possible(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let Field::Given(typed) = &raw.idp.access_tokens.validation else { return Ok(()) };
    if typed.value == USER_RESOURCE {
        let problem = typed.problem("does not tell which application a token is of", OTHERS);
        return Err(reading.tell(
            problem.because("a token that a person gave to any other application would be taken"),
        ));
    }
    match validation(typed) {
        Some(validation) => has_what_it_needs(validation, typed, &raw.idp, reading),
        // Told elsewhere.
        None => Ok(()),
    }
}

/// Whether only the ids of clients tell which tokens are for a resource.
pub(super) fn goes_by_application(idp: &RawIdp) -> bool {
    match &idp.access_tokens.validation {
        Field::Given(typed) => validation(typed).is_some_and(Validation::is_tokeninfo),
        Field::LeftOut(_) | Field::Mistyped(_) => false,
    }
}

fn has_what_it_needs(
    validation: Validation,
    typed: &Typed<String>,
    idp: &RawIdp,
    reading: &mut Reading,
) -> Result<(), Reported> {
    let is_left_out = |field: &Field<String>| matches!(field, Field::LeftOut(_));
    let has_no_metadata = matches!(&idp.metadata, Field::Given(typed) if typed.value == "none");
    let mut result = Ok(());
    if validation.is_tokeninfo() && is_left_out(&idp.endpoints.tokeninfo) {
        let fix = "add idp.endpoints.tokeninfo";
        result = Err(reading.tell(typed.problem("needs an endpoint that no metadata names", fix)));
    }
    if validation.introspects() && has_no_metadata && is_left_out(&idp.endpoints.introspection) {
        let reason = "needs an endpoint that nobody names, with idp.metadata: none";
        result = Err(reading.tell(typed.problem(reason, "add idp.endpoints.introspection")));
    }
    if validation.introspects() && matches!(idp.client_secret, Field::LeftOut(_)) {
        let problem = typed.problem("needs idp.client_secret", "add it, or use jwt");
        result =
            Err(reading
                .tell(problem.because(
                    "a provider that lets anybody introspect would let tokens be guessed",
                )));
    }
    result
}

fn validation(typed: &Typed<String>) -> Option<Validation> {
    let found = VALIDATIONS.iter().find(|(word, _)| *word == typed.value);
    found.map(|(_, validation)| *validation)
}

/// Of no standard, and yet what people try.
pub(super) const USER_RESOURCE: &str = "user_resource";
const OTHERS: &str =
    "use tokeninfo, if the provider has such an endpoint, or tokens.issued_by: doorman";
