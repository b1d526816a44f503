//! Names → addresses, as a parameter: a test says where a name leads and counts who asks.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::lookup_host;

/// One address of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the name resolved to: judged before anything is sent.
    pub address: IpAddr,
    /// Where the connection goes: the same address, but in a test.
    pub dial: SocketAddr,
}

/// Where names are looked up.
#[derive(Clone)]
pub enum Names {
    /// The operating system's resolver, `/etc/hosts` included.
    System,
    /// What a test says of a name.
    Told(Arc<Told>),
}

type Told = dyn Fn(&str) -> Vec<Route> + Send + Sync;

impl Names {
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<Route>> {
        match self {
            Self::System => {
                let found = lookup_host((host, port)).await?;
                Ok(found.map(|dial| Route { address: dial.ip(), dial }).collect())
            }
            Self::Told(answer) => Ok(answer(host)),
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Told(_) => "Told",
        })
    }
}
