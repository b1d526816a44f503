//! Who a person is, as the IdP vouches for it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::idp::claims::{Claims, plain};
use crate::idp::profile::{ClaimPath, EmailSource, GroupsShape, GroupsSource, IdpSettings, LookUp};

/// A person: the stable key decides who it is, everything else describes them at the time of the login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Unique and never reassigned at this IdP.
    pub key: String,
    /// Only if the IdP says that it verified the address; lower case.
    pub email: Option<String>,
    pub groups: Vec<String>,
    /// The claims that access rules ask about, by name or pointer, with what each says. Access tokens carry
    /// none of it.
    pub claims: Vec<(String, Vec<String>)>,
}

/// What is said of the person lets nobody in: it does not have the shape that was configured, or it is of
/// somebody else. Completes "…: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    #[error("there is no claim {0:?} that is a text or a whole number, which idp.user_key needs")]
    NoKey(String),
    #[error("the claim {0:?} has a slash, which a part of idp.user_key can't have")]
    Slash(String),
    #[error("the claim {0:?} is not a list of texts, as idp.groups_shape says")]
    GroupsList(String),
    #[error("the claim {0:?} is not an object, as idp.groups_shape says")]
    GroupsKeys(String),
    #[error(
        "the groups of this person are not all among the claims, and idp.groups_lookup does not say where they are"
    )]
    Overage,
    #[error("this person is in more than {MOST_GROUPS} groups")]
    TooManyGroups,
    #[error("a group has an empty name, or one of more than {LONGEST_GROUP} bytes")]
    GroupName,
    #[error(
        "the claim {0:?} is not a text, a whole number, true or false, nor a list of such, as access needs"
    )]
    Shape(String),
    #[error("userinfo is of another sub than the ID token")]
    AnotherSubject,
    #[error("the tenant {0:?} is not among idp.tenants")]
    Tenant(String),
}

/// What the claims say about groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GroupsTold {
    All(Vec<String>),
    /// Not all of them are here: there are too many for a token.
    Elsewhere,
}

impl Identity {
    /// Whoever a token is of that tells it all by itself.
    pub fn from_claims(
        claims: &Map<String, Value>,
        settings: &IdpSettings,
    ) -> Result<Self, ClaimFault> {
        let claims = Claims::from(claims.clone());
        let groups = match groups(&claims, &settings.groups)? {
            GroupsTold::All(groups) => sensible(groups)?,
            GroupsTold::Elsewhere => return Err(ClaimFault::Overage),
        };
        let key = key(&claims, &settings.user_key)?;
        let email = email(&claims, &settings.email);
        Ok(Self { key, email, groups, claims: kept(&claims, &settings.kept_claims)? })
    }
}

// A shape that was not expected is an error below, never an empty value: an empty list of groups would be
// read as "in no group", which is an answer.

pub(super) fn key(claims: &Claims, names: &[String]) -> Result<String, ClaimFault> {
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        let part = claims.at(&ClaimPath(name.clone())).and_then(plain);
        let part = part.ok_or_else(|| ClaimFault::NoKey(name.clone()))?;
        // Joined by a slash, so none may hold one: `a/b` + `c` is not `a` + `b/c`.
        if names.len() > 1 && part.contains('/') {
            return Err(ClaimFault::Slash(name.clone()));
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

/// An address counts only if the IdP says that it belongs to the person.
pub(super) fn email(claims: &Claims, source: &EmailSource) -> Option<String> {
    let is_verified = match claims.at(&source.verified_claim)? {
        Value::Bool(verified) => *verified,
        Value::String(verified) if source.verified_may_be_text => verified == "true",
        Value::String(_) | Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            let (claim, fix) =
                (&source.verified_claim.0, "set idp.email_verified_as: text, if it is one");
            tracing::warn!(
                claim,
                fix,
                whose_fault = "idp",
                "not true or false, so the email address is taken for unverified"
            );
            false
        }
    };
    let address = claims.at(&source.claim)?;
    is_verified.then(|| address_of(address)).flatten()
}

/// Only with a single `@`: `a@evil.example@corp.example` is in nobody's domain. Letters beyond ASCII may look
/// like others, so they are in none either.
pub(super) fn address_of(value: &Value) -> Option<String> {
    let address = value.as_str()?;
    let (local, domain) = address.split_once('@')?;
    let plain = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
    let clean = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    (plain && clean).then(|| address.to_ascii_lowercase())
}

pub(super) fn groups(claims: &Claims, source: &GroupsSource) -> Result<GroupsTold, ClaimFault> {
    let usual = ClaimPath(USUAL_GROUPS.to_owned());
    let claim = source.claim.as_ref().unwrap_or(&usual);
    if says_overage(claims, claim) {
        return Ok(GroupsTold::Elsewhere);
    }
    let groups = match source.shape {
        GroupsShape::List => listed(claims.at(claim)),
        GroupsShape::Keys => keys(claims.at(claim)),
    };
    let groups = groups.ok_or_else(|| match source.shape {
        GroupsShape::List => ClaimFault::GroupsList(claim.0.clone()),
        GroupsShape::Keys => ClaimFault::GroupsKeys(claim.0.clone()),
    })?;
    let lookup = source.lookup.as_ref().filter(|lookup| lookup.when == LookUp::Overage);
    let most = lookup.and_then(|lookup| lookup.most_in_claims);
    let are_cut_off = most.is_some_and(|most| groups.len() >= most);
    Ok(if are_cut_off { GroupsTold::Elsewhere } else { GroupsTold::All(groups) })
}

/// OIDC Core §5.6.2: `_claim_names` names the claims that are to be had elsewhere. Tokens that have little
/// room say `hasgroups` in its place.
fn says_overage(claims: &Claims, claim: &ClaimPath) -> bool {
    let elsewhere = claims.named("_claim_names").and_then(|names| names.get(&claim.0));
    let has_groups = claims.named("hasgroups");
    let says_so = has_groups.is_some_and(|has| has == &Value::Bool(true) || has == "true");
    elsewhere.is_some() || (says_so && claims.at(claim).is_none())
}

/// A single name is a list of one.
fn listed(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(many)) => {
            many.iter().map(|group| group.as_str().map(str::to_owned)).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => None,
    }
}

fn keys(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None => Some(Vec::new()),
        Some(value) => value.as_object().map(|object| object.keys().cloned().collect()),
    }
}

/// The claims that access rules ask about. One that is absent matches no rule.
pub(super) fn kept(
    claims: &Claims,
    paths: &[ClaimPath],
) -> Result<Vec<(String, Vec<String>)>, ClaimFault> {
    let mut kept = Vec::new();
    for path in paths {
        let Some(value) = claims.at(path) else { continue };
        let values = match value.as_array() {
            Some(many) => many.iter().map(said).collect(),
            None => said(value).map(|one| vec![one]),
        };
        let values: Vec<String> = values.ok_or_else(|| ClaimFault::Shape(path.0.clone()))?;
        if values.len() > MOST_GROUPS {
            return Err(ClaimFault::Shape(path.0.clone()));
        }
        kept.push((path.0.clone(), values));
    }
    Ok(kept)
}

fn said(value: &Value) -> Option<String> {
    let flag = value.as_bool().map(|flag| flag.to_string());
    flag.or_else(|| plain(value)).filter(|text| text.len() <= LONGEST_GROUP)
}

/// Wherever they come from.
pub(super) fn sensible(groups: Vec<String>) -> Result<Vec<String>, ClaimFault> {
    if groups.len() > MOST_GROUPS {
        return Err(ClaimFault::TooManyGroups);
    }
    if groups.iter().any(|group| group.is_empty() || group.len() > LONGEST_GROUP) {
        return Err(ClaimFault::GroupName);
    }
    Ok(groups)
}

/// Of one person.
pub(super) const MOST_GROUPS: usize = 5_000;
/// Bytes.
const LONGEST_GROUP: usize = 512;
/// Read also where nobody says that it is told.
const USUAL_GROUPS: &str = "groups";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::idp::profile::{GroupsLookup, Next};

    fn settings() -> IdpSettings {
        IdpSettings::openid_provider("https://idp.example".to_owned(), String::new())
    }

    fn claims(claims: &Value) -> Claims {
        Claims::of(claims.clone()).unwrap()
    }

    #[test]
    fn an_email_counts_only_if_it_is_verified_and_plain() {
        let mut seen = 0;
        for (address, verified, expected) in [
            (json!("A@Corp.example"), json!(true), Some("a@corp.example")),
            (json!("a@corp.example"), json!("true"), None),
            (json!("a@corp.example"), json!("false"), None),
            (json!("a@corp.example"), json!(1), None),
            (json!("a@corp.example"), json!([true]), None),
            (json!("a@corp.example"), json!(null), None),
            (json!("a@corp.example"), json!(false), None),
            (json!("a@evil.example@corp.example"), json!(true), None),
            (json!("@corp.example"), json!(true), None),
            (json!("a@"), json!(true), None),
            (json!("corp.example"), json!(true), None),
            (json!("a,b@corp.example"), json!(true), None),
            (json!("a b@corp.example"), json!(true), None),
            (json!("a@corp.example\n"), json!(true), None),
            (json!("a@córp.example"), json!(true), None),
            // A Kelvin sign is no k, whatever a lower case makes of it.
            (json!("\u{212a}@corp.example"), json!(true), None),
            (json!(["a@corp.example"]), json!(true), None),
            (json!({ "value": "a@corp.example" }), json!(true), None),
        ] {
            let told = json!({ "email": address, "email_verified": verified });
            assert_eq!(email(&claims(&told), &settings().email).as_deref(), expected, "{told}");
            seen += 1;
        }
        assert_eq!(seen, 18);
        assert_eq!(email(&claims(&json!({ "email": "a@b.example" })), &settings().email), None);
    }

    #[test]
    fn verified_may_be_a_text_only_where_it_is_said() {
        let source = EmailSource { verified_may_be_text: true, ..settings().email };
        for (verified, expected) in [
            (json!("true"), Some("a@corp.example")),
            (json!(true), Some("a@corp.example")),
            (json!("false"), None),
            (json!("True"), None),
            (json!("1"), None),
            (json!(1), None),
        ] {
            let told = claims(&json!({ "email": "a@corp.example", "email_verified": verified }));
            assert_eq!(email(&told, &source).as_deref(), expected, "{verified}");
        }
    }

    #[test]
    fn a_key_is_made_of_texts_and_whole_numbers() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (told, of, expected) in [
            (json!({ "sub": "1" }), names(&["sub"]), Some("1")),
            (json!({ "id": 583_231 }), names(&["id"]), Some("583231")),
            (json!({ "t": "a", "o": "b" }), names(&["t", "o"]), Some("a/b")),
            (json!({ "user": { "id": "x" } }), names(&["/user/id"]), Some("x")),
            (json!({ "sub": "a/b" }), names(&["sub"]), Some("a/b")),
            (json!({ "t": "a/b", "o": "c" }), names(&["t", "o"]), None),
            (json!({}), names(&["sub"]), None),
            (json!({ "sub": "" }), names(&["sub"]), None),
            (json!({ "sub": null }), names(&["sub"]), None),
            (json!({ "sub": 1.5 }), names(&["sub"]), None),
            (json!({ "sub": true }), names(&["sub"]), None),
            (json!({ "sub": ["1"] }), names(&["sub"]), None),
            (json!({ "sub": { "a": 1 } }), names(&["sub"]), None),
        ] {
            assert_eq!(key(&claims(&told), &of).ok().as_deref(), expected, "{told}");
        }
    }

    #[test]
    fn groups_of_another_shape_are_an_error() {
        let list = settings().groups;
        let keys = GroupsSource { shape: GroupsShape::Keys, ..settings().groups };
        let all = |groups: &[&str]| {
            Some(GroupsTold::All(groups.iter().map(|group| (*group).to_owned()).collect()))
        };
        for (told, source, expected) in [
            (json!(["a", "b"]), &list, all(&["a", "b"])),
            (json!("a"), &list, all(&["a"])),
            (json!(null), &list, all(&[])),
            (json!({ "a": true }), &list, None),
            (json!([1]), &list, None),
            (json!([["a"]]), &list, None),
            (json!(true), &list, None),
            (json!(3), &list, None),
            (json!({ "a": { "org": "x" }, "b": 1 }), &keys, all(&["a", "b"])),
            (json!(null), &keys, all(&[])),
            (json!(["a"]), &keys, None),
            (json!("a"), &keys, None),
        ] {
            let read = groups(&claims(&json!({ "groups": told })), source);
            assert_eq!(read.ok(), expected, "{told}");
        }
    }

    #[test]
    fn groups_that_are_not_all_there_are_not_taken_for_all() {
        let lookup = GroupsLookup {
            url: "https://idp.example/groups".parse().unwrap(),
            when: LookUp::Overage,
            most_in_claims: Some(2),
            list: String::new(),
            name: Vec::new(),
            next: Next::Never,
        };
        let cut = GroupsSource { lookup: Some(lookup), ..settings().groups };
        for (told, source, is_all) in [
            (json!({ "_claim_names": { "groups": "src1" } }), settings().groups, false),
            (json!({ "_claim_names": { "address": "src1" } }), settings().groups, true),
            (json!({ "hasgroups": true }), settings().groups, false),
            (json!({ "hasgroups": "true" }), settings().groups, false),
            (json!({ "hasgroups": false }), settings().groups, true),
            (json!({ "groups": ["a", "b"] }), settings().groups, true),
            (json!({ "groups": ["a"] }), cut.clone(), true),
            (json!({ "groups": ["a", "b"] }), cut, false),
        ] {
            let read = groups(&claims(&told), &source).unwrap();
            assert_eq!(read != GroupsTold::Elsewhere, is_all, "{told}");
        }
    }

    #[test]
    fn there_is_an_end_to_groups() {
        let many = |count: usize| vec!["g".to_owned(); count];

        assert!(sensible(many(MOST_GROUPS)).is_ok());
        assert_eq!(sensible(many(MOST_GROUPS + 1)), Err(ClaimFault::TooManyGroups));
        assert_eq!(sensible(vec!["g".repeat(513)]), Err(ClaimFault::GroupName));
        assert_eq!(sensible(vec![String::new()]), Err(ClaimFault::GroupName));
    }
}
