//! Fetches a secret from where the configuration says it is.

use std::path::Path;

use crate::config::environment::NotText;
use crate::config::field::Typed;
use crate::config::problem::{Problem, Reported};
use crate::config::raw::secret::SecretSource;
use crate::config::stanza::Reading;
use crate::secret::Secret;

/// The secret without the newline that editors and `echo` put at its end. `None` if it is somewhere else
/// and secrets are not to be looked for.
pub(super) fn fetch(
    source: Typed<SecretSource>,
    reading: &mut Reading,
) -> Result<Option<Typed<Secret>>, Reported> {
    if !is_inline(&source.value) && !reading.environment.has_secrets() {
        return Ok(None);
    }
    let spot = source.spot.clone();
    let found = match &source.value {
        SecretSource::File(path) => from_file(path, reading),
        SecretSource::Variable(name) => from_variable(name, reading),
        SecretSource::Inline(secret) => Ok(secret.clone()),
    };
    let emptiness = match &source.value {
        SecretSource::File(path) => format!("the file {} is empty", path.display()),
        SecretSource::Variable(name) => format!("the environment variable {name} is empty"),
        SecretSource::Inline(_) => "is empty".to_owned(),
    };
    match found {
        Ok(secret) if secret.expose().trim().is_empty() => {
            Err(reading.tell(Problem::at(&spot, emptiness, "put the secret there")))
        }
        Ok(secret) => Ok(Some(source.with(secret))),
        Err((reason, fix)) => Err(reading.tell(Problem::at(&spot, reason, fix))),
    }
}

fn is_inline(source: &SecretSource) -> bool {
    match source {
        SecretSource::Inline(_) => true,
        SecretSource::File(_) | SecretSource::Variable(_) => false,
    }
}

/// What is wrong, and the fix.
type Absence = (String, &'static str);

fn from_file(path: &Path, reading: &Reading) -> Result<Secret, Absence> {
    match reading.environment.read(path) {
        Ok(text) => Ok(without_newline(text)),
        Err(reason) => Err((
            format!("the file {} {reason}", path.display()),
            "mount the secret there, readable by this process, or correct the path",
        )),
    }
}

fn from_variable(name: &str, reading: &Reading) -> Result<Secret, Absence> {
    match reading.environment.variable(name) {
        Some(Ok(text)) => Ok(without_newline(text.to_owned())),
        Some(Err(NotText)) => {
            Err((format!("the environment variable {name} is not UTF-8 text"), "encode the secret"))
        }
        None => Err((
            format!("the environment variable {name} is not set"),
            "set it to the secret, or correct the name",
        )),
    }
}

fn without_newline(mut text: String) -> Secret {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Secret::new(text)
}
