//! Whether the other side of a silent connection is still there, asked of the kernel: who vanishes says nothing.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Have the connection broken off when nobody has answered for `VANISHED`.
pub fn notice_vanishing(socket: &SockRef<'_>) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(FIRST_PROBE).with_interval(NEXT_PROBE);
    socket.set_tcp_keepalive(&probes.with_retries(PROBES))
}

const FIRST_PROBE: Duration = Duration::from_secs(15);
const NEXT_PROBE: Duration = Duration::from_secs(10);
const PROBES: u32 = 4;
/// From the last sign of life on.
pub const VANISHED: Duration = Duration::from_secs(55);

/// Faults 16 and 21. That the kernel keeps to it can't be tried without losing packets.
#[cfg(test)]
pub fn assert_vanishing_is_noticed(socket: &SockRef<'_>) {
    assert!(socket.keepalive().unwrap());
    let (first, next) =
        (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
    assert_eq!(first + next * socket.tcp_keepalive_retries().unwrap(), VANISHED);
    assert!(VANISHED < Duration::from_mins(1));
}
