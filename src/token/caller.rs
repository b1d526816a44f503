//! Who calls: a person whom the IdP vouched for, or a machine that the operator named. Never one for the
//! other (RFC 9700 §4.15): nothing that a machine is called is compared with what people are called.

use crate::idp::Identity;
use crate::token::verified::IdentityValues;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Person(Identity),
    /// An entry of `service_accounts`, by its id.
    ServiceAccount(String),
    /// A client of the IdP's that came for itself, by its id there.
    Machine(String),
}

impl Caller {
    /// For logs: the person's stable key, or the machine's id.
    pub fn name(&self) -> &str {
        match self {
            Self::Person(person) => &person.key,
            Self::ServiceAccount(id) | Self::Machine(id) => id,
        }
    }

    /// What the upstream is told. `None` if it can't be told in headers.
    pub(super) fn headers(&self) -> Option<IdentityValues> {
        IdentityValues::of(self)
    }
}
