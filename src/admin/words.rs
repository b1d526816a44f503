//! What travels over the admin socket: both ends have it from here.

use serde::{Deserialize, Serialize};

use crate::grants::Grant;

/// `GET`, with a `Filter` as its query: `Line`s, one in a line.
pub const CONNECTIONS: &str = "/connections";
/// `POST` a `Whose`: `Line`s, one in a line.
pub const REVOKE: &str = "/revoke";
/// `POST` a `DrainWish`: a `DrainEnd`, when it is over.
pub const DRAIN: &str = "/drain";

/// One live grant, as operators are told of it. Nothing in here opens anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The id of the grant.
    pub grant: String,
    /// The stable key of the person.
    pub user: String,
    pub email: Option<String>,
    /// What the client calls itself: a stranger's text.
    pub client_name: String,
    /// A digest of the client's id.
    pub client: String,
    pub resource: String,
    pub scopes: Vec<String>,
    /// When the person signed in. This and the following as in RFC 3339.
    pub since: String,
    /// When its newest tokens were issued.
    pub refreshed: String,
    /// However often it is refreshed.
    pub ends_at: String,
}

/// A line of an answer. Without `end` as its last line an answer is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Connection(Connection),
    Ended(Ending),
    /// The store did not take it: refused here, and may be live elsewhere.
    Failed(Ending),
    End(Tally),
}

/// A grant that was to be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub grant: String,
    /// `None` if the store has no live grant of that id, or did not say.
    pub connection: Option<Connection>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub listed: usize,
    pub ended: usize,
    pub failed: usize,
    /// Rows that no sealing key opens.
    pub unreadable: usize,
}

/// Which connections to list: all, or those that fit all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The id, or its beginning.
    pub grant: Option<String>,
    /// The key, or the email address.
    pub user: Option<String>,
    /// The digest, or the name.
    pub client: Option<String>,
}

/// Whose connections to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The id, or its beginning as the log has it.
    Grant(String),
    /// The key; or the email address, if no two people have it.
    User(String),
    /// The digest; or the name, if no two clients have it.
    Client(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWish {
    /// After this what is still going on is cut.
    pub within_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainEnd {
    /// Some answers were cut.
    pub cut_short: bool,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
    pub error_description: String,
    /// Of whom one has to be named, if several could be meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub id: String,
    pub connections: usize,
}

impl Connection {
    pub fn of(grant: &Grant) -> Self {
        Self {
            grant: grant.id.hex(),
            user: grant.person.key.clone(),
            email: grant.person.email.clone(),
            client_name: grant.client_name.clone(),
            client: grant.client.hex(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.names().map(str::to_owned).collect(),
            since: grant.began.to_string(),
            refreshed: grant.generations.issued_at().to_string(),
            ends_at: grant.ends_at.to_string(),
        }
    }
}

impl Filter {
    pub fn lets(&self, grant: &Grant) -> bool {
        let has = |wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(fits)
        };
        has(&self.grant, &|start| grant.id.hex().starts_with(&start.to_ascii_lowercase()))
            && has(&self.user, &|user| is_user(grant, user))
            && has(&self.client, &|client| is_client(grant, client))
    }
}

pub(super) fn is_user(grant: &Grant, text: &str) -> bool {
    grant.person.key == text
        || grant.person.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(text))
}

pub(super) fn is_client(grant: &Grant, text: &str) -> bool {
    grant.client.hex() == text || grant.client_name == text
}
