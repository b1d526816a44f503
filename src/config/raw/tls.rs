//! `tls:` what is shown to those who connect.

use crate::config::field::{Field, Required, Typed};
use crate::config::form::Form;
use crate::config::problem::{Reported, Spot};
use crate::config::raw::secret::{SECRET, SecretSource};
use crate::config::schema;
use crate::config::stanza::{Reading, Stanza};
use crate::config::tree::Node;
use crate::config::values;

pub(in crate::config) struct RawTls {
    pub cert: Required<String>,
    pub key: Required<SecretSource>,
}

pub(super) fn ask(root: &mut Stanza, reading: &mut Reading) -> Field<RawTls> {
    root.ask(
        "tls",
        "Speak TLS at listen, with this certificate. Default: plain HTTP, for an ingress that speaks TLS.",
        TLS,
        reading,
    )
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of every `Read`")]
fn read(spot: Spot, node: Node, reading: &mut Reading) -> Result<Typed<RawTls>, Reported> {
    let value = Stanza::read(spot.clone(), node, ask_both, reading);
    Ok(Typed { value, shown: None, spot })
}

fn ask_both(stanza: &mut Stanza, reading: &mut Reading) -> RawTls {
    RawTls {
        cert: stanza.require(
            "cert",
            "A file with the certificate (PEM), and behind it those between it and its authority.",
            values::TEXT,
            reading,
        ),
        key: stanza.require("key", "Where its private key (PEM) comes from.", SECRET, reading),
    }
}

const TLS: Form<RawTls> = Form::new(read, || schema::stanza(ask_both));
