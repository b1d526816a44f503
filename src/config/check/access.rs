//! `access:` of a resource: who may use it. Never guessed.

use crate::config::field::{Field, Required, Typed};
use crate::config::problem::{Problem, Reported, Spot};
use crate::config::raw::RawConfig;
use crate::config::raw::access::{ANYONE, RawAccess, RawAccessEntry};
use crate::config::stanza::Reading;
use crate::config::values::Named;
use crate::policy::{Access, AccessEntry, ClaimRule};

pub(super) fn check(field: Required<RawAccess>, reading: &mut Reading) -> Result<Access, Reported> {
    let typed = field.required(
        &mut reading.problems,
        "who may use a resource is never guessed",
        "add access: any for everyone who can log in, or access: [{ groups: [name] }]",
    )?;
    let Typed { value, shown, spot } = typed;
    match value {
        RawAccess::Word(word) if word == ANYONE => Ok(Access::Anyone),
        RawAccess::Word(_) => {
            let typed = Typed { value: (), shown, spot };
            Err(reading.tell(typed.problem("is not a rule", RULES)))
        }
        RawAccess::Entries(entries) => only(&spot, entries, reading),
    }
}

/// The entries of all resources, for checks that need more than `access` to judge them.
pub(super) fn all_entries(raw: &RawConfig) -> impl Iterator<Item = &RawAccessEntry> {
    let resources = match &raw.resources.0 {
        Field::Given(resources) => resources.value.as_slice(),
        Field::LeftOut(_) | Field::Mistyped(_) => &[],
    };
    resources.iter().flat_map(|resource| match &resource.access.0 {
        Field::Given(Typed { value: RawAccess::Entries(entries), .. }) => entries.as_slice(),
        Field::Given(_) | Field::LeftOut(_) | Field::Mistyped(_) => &[],
    })
}

fn only(
    spot: &Spot,
    entries: Vec<RawAccessEntry>,
    reading: &mut Reading,
) -> Result<Access, Reported> {
    if entries.is_empty() {
        return Err(reading
            .tell(Problem::at(spot, "is an empty list", RULES).because("nobody could get in")));
    }
    let entries: Vec<_> = entries.into_iter().map(|raw| entry(raw, reading)).collect();
    Ok(Access::Only(entries.into_iter().collect::<Result<_, _>>()?))
}

fn entry(raw: RawAccessEntry, reading: &mut Reading) -> Result<AccessEntry, Reported> {
    let groups = values(raw.groups, as_typed, reading);
    let emails = values(raw.emails, email, reading);
    let email_domains = values(raw.email_domains, email_domain, reading);
    let subjects = values(raw.subjects, as_typed, reading);
    let claims = claims(raw.claims);
    let clients = values(raw.clients, as_typed, reading);
    let entry = AccessEntry {
        groups: groups?,
        emails: emails?,
        email_domains: email_domains?,
        subjects: subjects?,
        claims: claims?,
        clients: clients?,
    };
    let of_people = AccessEntry { clients: Vec::new(), ..entry.clone() };
    if !entry.clients.is_empty() && of_people != AccessEntry::default() {
        return Err(reading.tell(
            Problem::at(
                &raw.spot,
                "names machines and people",
                "write an entry with clients alone, and another for people",
            )
            .because("a machine is never a person, so nobody would match it"),
        ));
    }
    if entry == AccessEntry::default() {
        return Err(reading.tell(
            Problem::at(&raw.spot, "asks for nothing", RULES)
                .because("an entry that asks for nothing would let everyone in"),
        ));
    }
    Ok(entry)
}

fn claims(field: Field<Vec<Named>>) -> Result<Vec<ClaimRule>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    let rules = typed.value.into_iter().map(|Named { name, values }| ClaimRule {
        claim: name,
        values: values.value.into_iter().map(|typed| typed.value).collect(),
    });
    Ok(rules.collect())
}

/// A value as it is compared, or what is wrong with it and the fix.
type Meaning = Result<String, (&'static str, &'static str)>;

fn values(
    field: Field<Vec<Typed<String>>>,
    meaning: fn(&str) -> Meaning,
    reading: &mut Reading,
) -> Result<Vec<String>, Reported> {
    let Some(typed) = field.optional()? else { return Ok(Vec::new()) };
    let values: Vec<_> = typed
        .value
        .iter()
        .map(|typed| {
            meaning(&typed.value).map_err(|(reason, fix)| reading.tell(typed.problem(reason, fix)))
        })
        .collect();
    values.into_iter().collect()
}

#[expect(clippy::unnecessary_wraps, reason = "one of several meanings")]
fn as_typed(text: &str) -> Meaning {
    Ok(text.to_owned())
}

fn email(text: &str) -> Meaning {
    match text.split_once('@') {
        Some((name, domain)) if !name.is_empty() && is_domain(domain) => Ok(text.to_lowercase()),
        Some(_) | None => Err((
            "is not an email address",
            "write name@example.com, or use email_domains for everyone of a domain",
        )),
    }
}

fn email_domain(text: &str) -> Meaning {
    if is_domain(text) {
        Ok(text.to_lowercase())
    } else {
        Err(("is not a domain", "write what stands after the @, as in example.com; no @, no *"))
    }
}

fn is_domain(text: &str) -> bool {
    let has_edges = text.starts_with('.') || text.ends_with('.');
    !text.is_empty()
        && !has_edges
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '*' | '/' | ':' | ','))
}

const RULES: &str = "write access: any for everyone who can log in, or entries with groups, emails, email_domains, subjects, claims or clients";
