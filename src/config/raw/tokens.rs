//! `tokens:` who issues them, how long they last.

use std::time::Duration;

use serde_json::json;

use crate::config::IssuedBy;
use crate::config::field::Field;
use crate::config::form::Form;
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::values;

pub(in crate::config) struct RawTokens {
    pub issued_by: Field<String>,
    pub access_ttl: Field<Duration>,
    pub refresh_ttl: Field<Duration>,
    pub recheck_after: Field<Duration>,
    pub recheck_grace: Field<Duration>,
    pub not_before: Field<String>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawTokens {
    RawTokens {
        issued_by: stanza.ask(
            "issued_by",
            "Who issues the access tokens that clients bring: doorman, or idp, where clients register and log in at the provider itself.",
            ISSUED_BY.by_default(|| json!("doorman")),
            reading,
        ),
        access_ttl: stanza.ask(
            "access_ttl",
            "How long an access token lasts, 1s to 24h.",
            values::DURATION.by_default(|| json!("1h")),
            reading,
        ),
        refresh_ttl: stanza.ask(
            "refresh_ttl",
            "How long a refresh token that is not used lasts, up to 90d.",
            values::DURATION.by_default(|| json!("14d")),
            reading,
        ),
        recheck_after: stanza.ask(
            "recheck_after",
            "How long the provider's word about a person holds, 1s to 24h: who leaves is out within it.",
            values::DURATION.by_default(|| json!("1h")),
            reading,
        ),
        recheck_grace: stanza.ask(
            "recheck_grace",
            "How much longer, while the provider is asked and does not answer, up to 90d; and how long a login lasts if it gives no refresh token.",
            values::DURATION.by_default(|| json!("12h")),
            reading,
        ),
        not_before: stanza.ask(
            "not_before",
            "Tokens that were issued before this time are refused: everybody signs in again, as after a key was stolen.",
            values::TEXT.with_example("2026-11-21T09:30:00Z"),
            reading,
        ),
    }
}

const ISSUED_BY: Form<String> =
    Form::new(values::text, || schema::choice(ISSUERS.map(|(word, _)| word)));

pub(in crate::config) const ISSUERS: [(&str, IssuedBy); 2] =
    [("doorman", IssuedBy::Doorman), ("idp", IssuedBy::Idp)];
