//! `access:` of a resource: any entry may match; keys within an entry: all must; values of a key: any.

use crate::idp::Identity;
use crate::secret;

/// Who may use a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone who can log in at the IdP: `access: any`.
    Anyone,
    /// Whoever matches one of the entries. Never empty.
    Only(Vec<AccessEntry>),
}

/// One alternative. A list left empty asks nothing; at least one is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessEntry {
    pub groups: Vec<String>,
    /// Lower case.
    pub emails: Vec<String>,
    /// Lower case, without the `@`.
    pub email_domains: Vec<String>,
    pub subjects: Vec<String>,
    /// All of them must hold.
    pub claims: Vec<ClaimRule>,
    /// Machines, by their client ids at the IdP. Such an entry names nothing else, and no person matches it.
    pub clients: Vec<String>,
}

/// What a claim must say: any of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// Its name, or a JSON Pointer (RFC 6901).
    pub claim: String,
    /// Never empty.
    pub values: Vec<String>,
}

impl Access {
    pub fn admits(&self, person: &Identity) -> bool {
        match self {
            Self::Anyone => true,
            Self::Only(entries) => entries.iter().any(|entry| entry.admits(person)),
        }
    }

    /// A machine is not somebody who can log in: only an entry that names it lets it in.
    pub fn admits_machine(&self, client: &str) -> bool {
        match self {
            Self::Anyone => false,
            Self::Only(entries) => entries.iter().any(|entry| entry.admits_machine(client)),
        }
    }

    /// Changes whenever the rules do: a token says by which rules its holder was admitted.
    pub fn digest(&self) -> [u8; 8] {
        // The derived Debug text names every field and escapes every value, so two rules that differ
        // never print the same.
        let hash = secret::sha256(format!("{self:?}").as_bytes());
        *hash.first_chunk().unwrap_or(&[0; 8])
    }
}

impl AccessEntry {
    fn admits(&self, person: &Identity) -> bool {
        // An entry that asks nothing would admit everybody; the config refuses it, and so do we.
        let asks_something = [&self.groups, &self.emails, &self.email_domains, &self.subjects]
            .iter()
            .any(|values| !values.is_empty())
            || !self.claims.is_empty();
        let email = person.email.as_deref();
        let domain = email.and_then(|email| email.split_once('@')).map(|(_, domain)| domain);
        asks_something
            && self.clients.is_empty()
            && matches_any(&self.groups, |group| person.groups.contains(group))
            && matches_any(&self.emails, |own| email == Some(own.as_str()))
            && matches_any(&self.email_domains, |own| domain == Some(own.as_str()))
            && matches_any(&self.subjects, |own| *own == person.key)
            && self.claims.iter().all(|rule| rule.is_met_by(person))
    }

    fn admits_machine(&self, client: &str) -> bool {
        let of_people = [&self.groups, &self.emails, &self.email_domains, &self.subjects];
        of_people.iter().all(|values| values.is_empty())
            && self.claims.is_empty()
            && self.clients.iter().any(|own| own == client)
    }
}

impl ClaimRule {
    fn is_met_by(&self, person: &Identity) -> bool {
        let said = person.claims.iter().filter(|(claim, _)| *claim == self.claim);
        said.flat_map(|(_, values)| values).any(|value| self.values.contains(value))
    }
}

fn matches_any(values: &[String], matches: impl Fn(&String) -> bool) -> bool {
    values.is_empty() || values.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity {
            key: "alice".to_owned(),
            email: Some("alice@corp.example".to_owned()),
            groups: vec!["staff".to_owned()],
            claims: vec![
                ("department".to_owned(), vec!["finance".to_owned()]),
                ("levels".to_owned(), vec!["2".to_owned(), "true".to_owned()]),
            ],
        }
    }

    fn asking(rules: &[(&str, &[&str])]) -> AccessEntry {
        let rule = |(claim, values): &(&str, &[&str])| ClaimRule {
            claim: (*claim).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        AccessEntry { claims: rules.iter().map(rule).collect(), ..AccessEntry::default() }
    }

    #[test]
    fn every_claim_must_say_one_of_its_values() {
        for (rules, expected) in [
            (&[("department", &["finance"][..])][..], true),
            (&[("department", &["sales", "finance"])], true),
            (&[("department", &["sales"])], false),
            (&[("department", &["Finance"])], false),
            (&[("department", &["finance"]), ("levels", &["2"])], true),
            (&[("department", &["finance"]), ("levels", &["3"])], false),
            (&[("levels", &["finance"])], false),
            (&[("absent", &["finance"])], false),
        ] {
            let access = Access::Only(vec![asking(rules)]);
            assert_eq!(access.admits(&alice()), expected, "{rules:?}");
        }
        let sales =
            AccessEntry { groups: vec!["sales".to_owned()], ..asking(&[("levels", &["2"])]) };
        assert!(!Access::Only(vec![sales]).admits(&alice()), "keys within an entry must all match");
    }

    fn entry(groups: &[&str], domains: &[&str]) -> AccessEntry {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        AccessEntry {
            groups: owned(groups),
            email_domains: owned(domains),
            ..AccessEntry::default()
        }
    }

    #[test]
    fn entries_are_alternatives_and_keys_within_one_are_not() {
        for (entries, expected) in [
            (vec![entry(&["staff"], &[])], true),
            (vec![entry(&["admins", "staff"], &[])], true),
            (vec![entry(&["admins"], &[])], false),
            (vec![entry(&["admins"], &[]), entry(&["staff"], &[])], true),
            (vec![entry(&["staff"], &["corp.example"])], true),
            (vec![entry(&["staff"], &["other.example"])], false),
            (vec![entry(&[], &["evil-corp.example"])], false),
            (vec![entry(&["staff "], &[])], false),
            (vec![AccessEntry::default()], false),
            (vec![], false),
        ] {
            assert_eq!(Access::Only(entries.clone()).admits(&alice()), expected, "{entries:?}");
        }
    }

    /// RFC 9700 §4.15
    #[test]
    fn what_is_said_of_people_is_not_said_of_machines_nor_the_other_way_round() {
        let alice_as_machine =
            AccessEntry { clients: vec!["alice".to_owned()], ..AccessEntry::default() };
        let both = AccessEntry { clients: vec!["alice".to_owned()], ..entry(&["staff"], &[]) };
        let subject = AccessEntry { subjects: vec!["alice".to_owned()], ..AccessEntry::default() };
        for (access, person, machine) in [
            (Access::Anyone, true, false),
            (Access::Only(vec![subject]), true, false),
            (Access::Only(vec![alice_as_machine]), false, true),
            (Access::Only(vec![both]), false, false),
        ] {
            assert_eq!(access.admits(&alice()), person, "{access:?}");
            assert_eq!(access.admits_machine("alice"), machine, "{access:?}");
        }
    }

    #[test]
    fn without_a_verified_email_no_domain_matches() {
        let nobody = Identity { email: None, ..alice() };

        assert!(!Access::Only(vec![entry(&[], &["corp.example"])]).admits(&nobody));
    }

    #[test]
    fn rules_that_differ_have_another_digest() {
        let one = Access::Only(vec![entry(&["a"], &[]), entry(&["b"], &[])]);
        let other = Access::Only(vec![entry(&["a", "b"], &[])]);

        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.digest(), one.clone().digest());
    }
}
