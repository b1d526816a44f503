//! Machines that get tokens from the IdP for themselves (RFC 6749 §4.4), as far as the operator lets them in.

/// `machines:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSettings {
    /// In `aud` of their tokens.
    pub audience: String,
    /// Their client ids at the IdP.
    pub clients: Vec<String>,
}

impl MachineSettings {
    pub fn lists(&self, client: &str) -> bool {
        self.clients.iter().any(|own| own == client)
    }
}
