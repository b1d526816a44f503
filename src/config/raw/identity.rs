//! The part of `idp:` that says where identity, groups and email addresses come from.

use serde_json::json;

use crate::config::field::{Field, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::schema::{self, Schema};
use crate::config::stanza::{ReadStanza, Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;
use crate::idp::profile::{GroupsShape, LookUp};

pub(in crate::config) struct RawIdentity {
    pub identity: Field<String>,
    pub user_resource: Field<String>,
    pub groups_claim: Field<String>,
    pub groups_shape: Field<String>,
    pub groups_lookup: Field<RawLookup<RawGroupsLookup>>,
    pub email_claim: Field<String>,
    pub email_verified_claim: Field<String>,
    pub email_verified_as: Field<String>,
    pub email_lookup: Field<RawLookup<RawEmailLookup>>,
}

pub(in crate::config) enum RawLookup<T> {
    /// The word that was typed in place of a map.
    Word(String),
    Given(Box<T>),
}

pub(in crate::config) struct RawGroupsLookup {
    pub spot: Spot,
    pub url: Field<String>,
    pub when: Field<String>,
    pub most_in_claims: Field<u64>,
    pub list: Field<String>,
    pub name: Field<Vec<Typed<String>>>,
    pub next: Field<String>,
}

pub(in crate::config) struct RawEmailLookup {
    pub spot: Spot,
    pub url: Field<String>,
    pub list: Field<String>,
    pub address: Field<String>,
    pub verified: Field<String>,
    pub primary: Field<String>,
}

pub(super) fn read(stanza: &mut Stanza, reading: &mut Reading) -> RawIdentity {
    RawIdentity {
        identity: stanza.ask(
            "identity",
            "Where it is told who a person is: id_token; userinfo for the ID token completed by the userinfo endpoint; user_resource for a provider without OpenID. (preset)",
            IDENTITY.by_default(|| json!("id_token")),
            reading,
        ),
        user_resource: stanza.ask(
            "user_resource",
            "The URL that answers about whoever the access token is of, for identity: user_resource. (preset)",
            values::TEXT,
            reading,
        ),
        groups_claim: stanza.ask(
            "groups_claim",
            "The claim that lists the person's groups: its name, or a JSON Pointer, which starts with a slash. (preset; some have none)",
            values::TEXT,
            reading,
        ),
        groups_shape: stanza.ask(
            "groups_shape",
            "What that claim is: list for a list of names, keys for an object whose keys are the names. (preset)",
            GROUPS_SHAPE.by_default(|| json!("list")),
            reading,
        ),
        groups_lookup: stanza.ask(
            "groups_lookup",
            "A URL of the provider's that lists the person's groups, asked with their access token; none for no lookup. (preset)",
            Form::new(read_groups_lookup, || lookup_schema(ask_groups_lookup)).by_default(|| json!(NONE)),
            reading,
        ),
        email_claim: stanza.ask(
            "email_claim",
            "The claim with the person's email address. (preset)",
            values::TEXT.by_default(|| json!("email")),
            reading,
        ),
        email_verified_claim: stanza.ask(
            "email_verified_claim",
            "The claim that says whether the address is theirs. Without it, no rule about emails matches. (preset)",
            values::TEXT.by_default(|| json!("email_verified")),
            reading,
        ),
        email_verified_as: stanza.ask(
            "email_verified_as",
            "What that claim is: boolean, or text where the text \"true\" counts too. (preset)",
            VERIFIED_AS.by_default(|| json!("boolean")),
            reading,
        ),
        email_lookup: stanza.ask(
            "email_lookup",
            "A URL of the provider's that lists the person's email addresses, asked with their access token in place of the claims; none for no lookup. (preset)",
            Form::new(read_email_lookup, || lookup_schema(ask_email_lookup)).by_default(|| json!(NONE)),
            reading,
        ),
    }
}

fn read_groups_lookup(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<RawLookup<RawGroupsLookup>>, Reported> {
    read_lookup(spot, node, ask_groups_lookup, reading)
}

fn read_email_lookup(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<RawLookup<RawEmailLookup>>, Reported> {
    read_lookup(spot, node, ask_email_lookup, reading)
}

fn read_lookup<T>(
    spot: Spot,
    node: Node,
    ask: ReadStanza<T>,
    reading: &mut Reading,
) -> Result<Typed<RawLookup<T>>, Reported> {
    if let Value::Text(_) = node.value {
        let word = values::text(spot, node, reading)?;
        return Ok(Typed {
            value: RawLookup::Word(word.value),
            shown: word.shown,
            spot: word.spot,
        });
    }
    let value = RawLookup::Given(Box::new(Stanza::read(spot.clone(), node, ask, reading)));
    Ok(Typed { value, shown: None, spot })
}

fn ask_groups_lookup(stanza: &mut Stanza, reading: &mut Reading) -> RawGroupsLookup {
    RawGroupsLookup {
        spot: stanza.spot().clone(),
        url: stanza.ask("url", "What to GET.", values::TEXT, reading),
        when: stanza.ask(
            "when",
            "always, or overage for only if the claims say that they don't hold all groups. Default: always",
            WHEN,
            reading,
        ),
        most_in_claims: stanza.ask(
            "most_in_claims",
            "With overage: a claim that lists as many groups or more does not hold all. Default: only if it says so.",
            MOST_IN_CLAIMS,
            reading,
        ),
        list: stanza.ask(
            "list",
            "JSON Pointer to the list in the answer. Left out: the answer is the list.",
            values::TEXT,
            reading,
        ),
        name: stanza.ask(
            "name",
            "JSON Pointers within an entry, whose values are joined by a slash. Left out: an entry is a name.",
            values::TEXT_OR_TEXTS,
            reading,
        ),
        next: stanza.ask(
            "next",
            "Where the next page is: link for a Link header, or a JSON Pointer. Left out: there is one page.",
            values::TEXT,
            reading,
        ),
    }
}

fn ask_email_lookup(stanza: &mut Stanza, reading: &mut Reading) -> RawEmailLookup {
    RawEmailLookup {
        spot: stanza.spot().clone(),
        url: stanza.ask("url", "What to GET.", values::TEXT, reading),
        list: stanza.ask(
            "list",
            "JSON Pointer to the list in the answer. Left out: the answer is the list.",
            values::TEXT,
            reading,
        ),
        address: stanza.ask(
            "address",
            "JSON Pointer within an entry: the email address.",
            values::TEXT,
            reading,
        ),
        verified: stanza.ask(
            "verified",
            "JSON Pointer within an entry: whether it is theirs, true or false.",
            values::TEXT,
            reading,
        ),
        primary: stanza.ask(
            "primary",
            "JSON Pointer within an entry: whether it is the one to use. Left out: the first that is verified.",
            values::TEXT,
            reading,
        ),
    }
}

fn lookup_schema<T>(ask: ReadStanza<T>) -> Schema {
    let with_url = json!({ "type": "object", "required": ["url"] });
    let map = schema::with(schema::stanza(ask), with_url);
    json!({ "anyOf": [schema::choice([NONE]), map] })
}

const IDENTITY: Form<String> =
    Form::new(values::text, || schema::choice(SOURCES.map(|(word, _)| word)));
const GROUPS_SHAPE: Form<String> =
    Form::new(values::text, || schema::choice(GROUPS_SHAPES.map(|(word, _)| word)));
const VERIFIED_AS: Form<String> =
    Form::new(values::text, || schema::choice(VERIFIED_FORMS.map(|(word, _)| word)));
const WHEN: Form<String> = Form::new(values::text, || schema::choice(WHENS.map(|(word, _)| word)));
const MOST_IN_CLAIMS: Form<u64> = Form::new(values::whole, || schema::whole(1, 5_000));

/// Where identity comes from; the URL of a user resource has a key of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Source {
    IdToken,
    Userinfo,
    UserResource,
}

pub(in crate::config) const SOURCES: [(&str, Source); 3] = [
    ("id_token", Source::IdToken),
    ("userinfo", Source::Userinfo),
    ("user_resource", Source::UserResource),
];
pub(in crate::config) const GROUPS_SHAPES: [(&str, GroupsShape); 2] =
    [("list", GroupsShape::List), ("keys", GroupsShape::Keys)];
/// Whether it may be a text.
pub(in crate::config) const VERIFIED_FORMS: [(&str, bool); 2] =
    [("boolean", false), ("text", true)];
pub(in crate::config) const WHENS: [(&str, LookUp); 2] =
    [("always", LookUp::Always), ("overage", LookUp::Overage)];
/// The word for no lookup.
pub(in crate::config) const NONE: &str = "none";
