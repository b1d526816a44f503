//! `access:` of a resource: any entry may match; keys within an entry: all must; values of a key: any.

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
}
