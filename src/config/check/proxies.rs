//! `trusted_proxies:` who may say where callers come from.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::field::{Field, Typed};
use crate::config::problem::Reported;
use crate::config::stanza::Reading;
use crate::wire::TrustedProxies;

pub(super) fn check(
    field: Field<Vec<Typed<String>>>,
    reading: &mut Reading,
) -> Result<TrustedProxies, Reported> {
    let Some(typed) = field.optional()? else { return Ok(TrustedProxies::default()) };
    let ranges: Vec<_> = typed.value.into_iter().map(|typed| range(&typed, reading)).collect();
    ranges.into_iter().collect::<Result<_, _>>().map(TrustedProxies::new)
}

/// An address alone is a range of one.
fn range(typed: &Typed<String>, reading: &mut Reading) -> Result<IpNet, Reported> {
    let text = &typed.value;
    let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match range {
        Ok(range) if range.prefix_len() == 0 => Err(reading.tell(
            typed
                .problem("is every address there is", "name the range of your ingress' pods")
                .because("anybody could say that they come from anywhere"),
        )),
        Ok(range) => Ok(range.trunc()),
        Err(_) => Err(reading.tell(typed.problem(
            "is not a range of addresses",
            "write 10.0.0.0/8, fd00::/8 or a single address",
        ))),
    }
}
