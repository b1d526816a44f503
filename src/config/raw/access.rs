//! `access:` of a resource: `any`, or a list of entries.

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values::{self, Named};

pub(in crate::config) enum RawAccess {
    /// The word that was typed in place of a list; `true` and `false` are told like any wrong one.
    Word(String),
    Entries(Vec<RawAccessEntry>),
}

pub(in crate::config) struct RawAccessEntry {
    pub spot: Spot,
    pub groups: Field<Vec<Typed<String>>>,
    pub emails: Field<Vec<Typed<String>>>,
    pub email_domains: Field<Vec<Typed<String>>>,
    pub subjects: Field<Vec<Typed<String>>>,
    pub claims: Field<Vec<Named>>,
    pub clients: Field<Vec<Typed<String>>>,
}

pub(super) const ACCESS: Form<RawAccess> = Form::new(read, schema);

fn read(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<RawAccess>, Reported> {
    if let Value::Text(_) = node.value {
        let word = values::text(spot, node, reading)?;
        let value = RawAccess::Word(word.value);
        return Ok(Typed { value, shown: word.shown, spot: word.spot });
    }
    if let Value::Flag(flag) = node.value {
        return Ok(Typed {
            value: RawAccess::Word(flag.to_string()),
            shown: Some(flag.to_string()),
            spot,
        });
    }
    let Typed { value, shown, spot } = values::stanzas(spot, node, read_entry, reading)?;
    Ok(Typed { value: RawAccess::Entries(value), shown, spot })
}

fn read_entry(stanza: &mut Stanza, reading: &mut Reading) -> RawAccessEntry {
    RawAccessEntry {
        spot: stanza.spot().clone(),
        groups: stanza.ask("groups", "Any of these groups.", values::TEXT_OR_TEXTS, reading),
        emails: stanza.ask("emails", "Any of these people.", values::TEXT_OR_TEXTS, reading),
        email_domains: stanza.ask(
            "email_domains",
            "Everyone with an email address of one of these domains: what stands after the @.",
            values::TEXT_OR_TEXTS.with_example("example.com"),
            reading,
        ),
        subjects: stanza.ask(
            "subjects",
            "Any of these stable keys of people at the IdP.",
            values::TEXT_OR_TEXTS,
            reading,
        ),
        claims: stanza.ask(
            "claims",
            "Claims by their names, or JSON Pointers such as /realm_access/roles, with what each may say: all of them must hold, by any of their values.",
            values::NAMED,
            reading,
        ),
        clients: stanza.ask(
            "clients",
            "Any of these machines, by their client ids in machines.clients. Alone in its entry: the other keys speak of people.",
            values::TEXT_OR_TEXTS,
            reading,
        ),
    }
}

fn schema() -> Schema {
    let something = json!({ "type": "object", "minProperties": 1 });
    let entry = schema::with(schema::stanza(read_entry), something);
    json!({ "anyOf": [schema::choice([ANYONE]), schema::at_least_one(&entry)] })
}

/// The word for everyone who can log in.
pub(in crate::config) const ANYONE: &str = "any";
