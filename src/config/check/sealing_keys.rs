//! `sealing_keys:` what seals codes, tokens and client ids; the current key first.

use crate::config::check::secret::fetch;
use crate::config::field::{Required, Typed};
use crate::config::problem::{Problem, Reported};
use crate::config::raw::secret::SecretSource;
use crate::config::stanza::Reading;
use crate::seal::KeyMaterial;
use crate::secret::{Secret, same};

pub(super) fn check(
    field: Required<Vec<Typed<SecretSource>>>,
    reading: &mut Reading,
) -> Result<Vec<KeyMaterial>, Reported> {
    let sources = field.required(
        &mut reading.problems,
        "it seals everything that is handed out, so it can't be made up at each start",
        "add sealing_keys: [{ file: /run/secrets/mcp-doorman/sealing-key }], made by `mcp-doorman key`",
    )?;
    if sources.value.is_empty() {
        return Err(reading.tell(sources.problem("is an empty list", MAKE_ONE)));
    }
    let keys: Vec<_> = sources
        .value
        .into_iter()
        .map(|source| {
            hidden(&source, reading)?;
            let Some(secret) = fetch(source, reading)? else { return Ok(None) };
            key(&secret, reading).map(|key| Some((secret, key)))
        })
        .collect();
    let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<_> = keys.into_iter().flatten().collect();
    all_differ(&keys, reading)?;
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// Who can read a key can make tokens for anybody.
fn hidden(source: &Typed<SecretSource>, reading: &mut Reading) -> Result<(), Reported> {
    let SecretSource::File(path) = &source.value else { return Ok(()) };
    if !reading.environment.has_secrets() || !reading.environment.is_open_to_all(path) {
        return Ok(());
    }
    let reason = format!("every user of this machine may read {}", path.display());
    let problem = Problem::at(&source.spot, reason, format!("chmod 600 {}", path.display()))
        .because("who has the key can make a token for anybody; it may have been read already");
    Err(reading.tell(problem))
}

fn key(secret: &Typed<Secret>, reading: &mut Reading) -> Result<KeyMaterial, Reported> {
    let text = secret.value.expose().trim();
    if SAMPLES.iter().any(|sample| same(sample.as_bytes(), text.as_bytes())) {
        return Err(reading.tell(
            Problem::at(&secret.spot, "is a sample from the documentation", MAKE_ONE)
                .because("everyone who reads the documentation could forge tokens"),
        ));
    }
    KeyMaterial::parse(text)
        .map_err(|weakness| reading.tell(Problem::at(&secret.spot, weakness.to_string(), MAKE_ONE)))
}

fn all_differ(
    keys: &[(Typed<Secret>, KeyMaterial)],
    reading: &mut Reading,
) -> Result<(), Reported> {
    let mut result = Ok(());
    for (index, (secret, _)) in keys.iter().enumerate() {
        let is_same = |(earlier, _): &(Typed<Secret>, KeyMaterial)| {
            same(earlier.value.expose().as_bytes(), secret.value.expose().as_bytes())
        };
        if keys.iter().take(index).any(is_same) {
            result = Err(reading.tell(Problem::at(
                &secret.spot,
                "is the same key as one before it",
                "remove one of the two",
            )));
        }
    }
    result
}

const MAKE_ONE: &str = "make one with `mcp-doorman key`";

/// Keys that stand in documents and would pass as random. One that is printed anywhere belongs here.
pub(in crate::config) const SAMPLES: [&str; 1] = ["cyRhtdbKIJ5k3EDBaYcs0K9mhohKYRdGUva38ycdE+s="];
