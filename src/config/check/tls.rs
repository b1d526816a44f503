//! `tls:` what is shown to those who connect.

use crate::config::check::certificate::{PUT_CERTIFICATE, no_pair, read, unfit};
use crate::config::check::secret::fetch;
use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::raw::RawConfig;
use crate::config::raw::tls::RawTls;
use crate::config::stanza::Reading;
use crate::tls::{Chain, CurrentChain, NotCurrent, ServerIdentity};

/// Nobody reaches by `http://` what speaks TLS.
pub(super) fn urls_fit(raw: &RawConfig, reading: &mut Reading) -> Result<(), Reported> {
    let Field::Given(_) = &raw.tls else { return Ok(()) };
    let resources = match &raw.resources.0 {
        Field::Given(list) => list.value.as_slice(),
        Field::LeftOut(_) | Field::Mistyped(_) => &[],
    };
    let urls = resources.iter().map(|resource| &resource.url.0).chain([&raw.issuer]);
    let mut result = Ok(());
    for url in urls {
        if let Field::Given(url) = url
            && url.value.starts_with("http://")
        {
            let reason = "is http, and with tls only https is answered";
            let fix = "write https:// and a name that the certificate is for, or remove tls";
            result = Err(reading.tell(url.problem(reason, fix)));
        }
    }
    result
}

/// `None` too if secrets are not to be looked for: as a rule the certificate stands beside its key.
pub(super) fn check(
    field: Field<RawTls>,
    reading: &mut Reading,
) -> Result<Option<ServerIdentity>, Reported> {
    let Some(Typed { value: RawTls { cert, key }, .. }) = field.optional()? else {
        return Ok(None);
    };
    let file = cert.required(
        &mut reading.problems,
        "a key is of no use without its certificate",
        "add cert: /path/to/certificate.pem",
    );
    let source = key.required(
        &mut reading.problems,
        "a certificate is of no use without its key",
        "add key: { file: /path/to/its/key.pem }",
    );
    let key = source.and_then(|source| fetch(source, reading));
    if !reading.environment.has_secrets() {
        return file.and(key).map(|_| None);
    }
    let chain = file.and_then(|file| Ok((current(&file, reading)?, file)));
    let ((chain, file), Some(key)) = (chain?, key?) else { return Ok(None) };
    ServerIdentity::new(chain, &key.value)
        .map(Some)
        .map_err(|reason| no_pair(reason, &file, &key, reading))
}

/// What stands in the file, if clients would believe it now.
fn current(file: &Typed<String>, reading: &mut Reading) -> Result<CurrentChain, Reported> {
    let text = read(file, "put the certificate there", reading)?;
    let chain =
        Chain::from_pem(&text).map_err(|reason| unfit(file, &reason, PUT_CERTIFICATE, reading))?;
    chain.at(reading.environment.now()).map_err(|reason| {
        let fix = match reason {
            NotCurrent::BadCertificate => PUT_CERTIFICATE,
            NotCurrent::Ended(_) => "put a new certificate there, and its key where tls.key says",
            NotCurrent::NotBegun(_) => {
                "put one there that is valid now, or set this machine's clock"
            }
        };
        unfit(file, &reason, fix, reading)
    })
}
