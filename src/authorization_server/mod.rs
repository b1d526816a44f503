//! The authorization server: issues tokens to MCP clients after a login at the IdP.

/// Who may register, and with which redirect URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationSettings {
    /// Dynamic client registration (RFC 7591).
    pub dynamic: bool,
    /// Private-use schemes that a redirect URI may have.
    pub redirect_schemes: Vec<String>,
}
