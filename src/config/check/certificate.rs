//! What certificates and keys in PEM files have in common, whoever they are shown to.

use std::fmt::Display;
use std::path::Path;

use crate::config::field::Typed;
use crate::config::problem::{Problem, Reported};
use crate::config::stanza::Reading;
use crate::secret::Secret;
use crate::tls::Unusable;

/// The text of `file`. `fix` is what to put there.
pub(super) fn read(
    file: &Typed<String>,
    fix: &str,
    reading: &mut Reading,
) -> Result<String, Reported> {
    reading.environment.read(Path::new(&file.value)).map_err(|reason| {
        unfit(
            file,
            &reason,
            &format!("{fix}, readable by this process, or correct the path"),
            reading,
        )
    })
}

/// `reason` completes "the file …".
pub(super) fn unfit(
    file: &Typed<String>,
    reason: &impl Display,
    fix: &str,
    reading: &mut Reading,
) -> Reported {
    reading.tell(Problem::at(&file.spot, format!("the file {} {reason}", file.value), fix))
}

/// Why nothing can be proved with the first certificate in `file` and `key`.
pub(super) fn no_pair(
    reason: Unusable,
    file: &Typed<String>,
    key: &Typed<Secret>,
    reading: &mut Reading,
) -> Reported {
    let (told, fix) = match reason {
        Unusable::NoCertificate | Unusable::BadCertificate => {
            return unfit(file, &reason, PUT_CERTIFICATE, reading);
        }
        Unusable::NoKey => (
            "is no private key that can be used".to_owned(),
            "put the key there as PEM, not encrypted: PKCS #8, SEC 1 or PKCS #1",
        ),
        Unusable::AnotherKey => (
            format!("is not the key of the first certificate in {}", file.value),
            "put the key there that this certificate was made for, or that certificate first",
        ),
    };
    reading.tell(Problem::at(&key.spot, told, fix))
}

pub(super) const PUT_CERTIFICATE: &str = "put the certificate there, as PEM";
