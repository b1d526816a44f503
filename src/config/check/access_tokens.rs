//! The part of `idp:` that says how the provider's own access tokens look, where clients bring them.

use std::time::Duration;

use crate::config::check::choice;
use crate::config::check::duration::within;
use crate::config::check::validation::USER_RESOURCE;
use crate::config::field::{Field, Required, Typed};
use crate::config::problem::Reported;
use crate::config::raw::idp::{AUDIENCES, RawAccessTokens, VALIDATIONS};
use crate::config::stanza::Reading;
use crate::config::values::Pair;
use crate::idp::{AccessTokenProfile, AudienceClaim, ExpectedClaim, Validation};

/// `user_key` is that of ID tokens.
pub(super) fn check(
    raw: RawAccessTokens,
    user_key: Vec<String>,
    reading: &mut Reading,
) -> Result<AccessTokenProfile, Reported> {
    let validation = match raw.validation {
        // Told elsewhere, with the reason.
        Field::Given(typed) if typed.value == USER_RESOURCE => Ok(Validation::Jwt),
        field @ (Field::Given(_) | Field::LeftOut(_) | Field::Mistyped(_)) => {
            choice::of(field, Validation::Jwt, &VALIDATIONS, reading)
        }
    };
    let introspection_ttl = within(
        raw.introspection_ttl,
        Duration::from_secs(30),
        Duration::from_secs(1)..=Duration::from_mins(5),
        "use 1s to 5m",
        reading,
    );
    let types = at_least_one(raw.types, reading);
    let audience = choice::of(raw.audience, AudienceClaim::Audience, &AUDIENCES, reading);
    let scopes = at_least_one(raw.scopes, reading);
    let own_user_key = match raw.user_key {
        Field::LeftOut(_) => Ok(user_key),
        given @ (Field::Given(_) | Field::Mistyped(_)) => at_least_one(Required(given), reading),
    };
    let person = raw.person.optional();
    let machine =
        raw.machine.required(&mut reading.problems, "it tells machines from people", MARKS);
    let machine = machine.and_then(|typed| {
        if typed.value.is_empty() {
            let problem = typed.problem("is empty", MARKS);
            return Err(reading.tell(problem.because("a machine would pass for a person")));
        }
        Ok(typed)
    });
    let is_short = |typ: String| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned)
    };
    Ok(AccessTokenProfile {
        validation: validation?,
        introspection_ttl: introspection_ttl?,
        types: types?.into_iter().map(is_short).collect(),
        audience: audience?,
        scopes: scopes?,
        user_key: own_user_key?,
        person: person?.map_or_else(Vec::new, expected),
        machine: expected(machine?),
    })
}

fn expected(claims: Typed<Vec<Pair>>) -> Vec<ExpectedClaim> {
    let expected = |Pair { name, value }| ExpectedClaim { name, value: value.value };
    claims.value.into_iter().map(expected).collect()
}

fn at_least_one(
    field: Required<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let why = "it says how access tokens of the provider look";
    let list = field.required(&mut reading.problems, why, "take it from config.example.yaml")?;
    if list.value.is_empty() {
        return Err(reading.tell(list.problem("is an empty list", "name one, or remove the key")));
    }
    Ok(list.value.into_iter().map(|typed| typed.value).collect())
}

const MARKS: &str = "write { sub: \"{client_id}\" }, or the claims that your provider has in tokens of machines alone";
