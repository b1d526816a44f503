//! `access:` of a resource: `any`, or a list of entries.

use crate::config::field::{Field, Typed};
use crate::config::problem::{Reported, Spot};
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::{Node, Value};
use crate::config::values;

pub(in crate::config) enum RawAccess {
    /// The word that was typed in place of a list.
    Word(String),
    Entries(Vec<RawAccessEntry>),
}

pub(in crate::config) struct RawAccessEntry {
    pub spot: Spot,
    pub groups: Field<Vec<Typed<String>>>,
    pub emails: Field<Vec<Typed<String>>>,
    pub email_domains: Field<Vec<Typed<String>>>,
    pub subjects: Field<Vec<Typed<String>>>,
}

pub(super) fn read(
    spot: Spot,
    node: Node,
    reading: &mut Reading,
) -> Result<Typed<RawAccess>, Reported> {
    if let Value::Text(_) = node.value {
        let word = values::text(spot, node, reading)?;
        let value = RawAccess::Word(word.value);
        return Ok(Typed { value, shown: word.shown, spot: word.spot });
    }
    let Typed { value, shown, spot } = values::stanzas(spot, node, reading)?;
    let entries = value.into_iter().map(|stanza| read_entry(stanza, reading)).collect();
    Ok(Typed { value: RawAccess::Entries(entries), shown, spot })
}

fn read_entry(mut stanza: Stanza, reading: &mut Reading) -> RawAccessEntry {
    let raw = RawAccessEntry {
        spot: stanza.spot().clone(),
        groups: stanza.ask("groups", values::text_or_texts, reading),
        emails: stanza.ask("emails", values::text_or_texts, reading),
        email_domains: stanza.ask("email_domains", values::text_or_texts, reading),
        subjects: stanza.ask("subjects", values::text_or_texts, reading),
    };
    stanza.close(reading);
    raw
}
