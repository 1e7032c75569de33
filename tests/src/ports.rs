//! Ports: free loopback ports for programs that can't report which they picked.
//!
//! Taken below the range from which the kernel gives ports to outgoing connections
//! (32768 on Linux), so that a port found free stays free until the program binds it.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

const FIRST: u16 = 10_240;
const COUNT: u16 = 20_000;

/// A port on which both TCP and UDP are free at 127.0.0.1; each one is given once.
///
/// # Errors
/// When none of the range is free.
pub fn free() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at once start at different places.
    let start = std::process::id().wrapping_mul(997) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap_or_default();
    (0..COUNT)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (start + step) % COUNT
        })
        .find(|port| is_free(*port))
        .context("no free port on loopback")
}

/// Whether somebody listens for TCP at a port of 127.0.0.1 or of every address, without being bothered by a connection.
///
/// # Errors
/// When the system does not say (proc(5), `net/tcp`).
pub fn is_listened(port: u16) -> anyhow::Result<Option<()>> {
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let ends = [format!("0100007F:{port:04X}"), format!("00000000:{port:04X}")];
    let listens = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(1).is_some_and(|end| ends.iter().any(|known| known == end))
    };
    Ok(table.lines().find(listens).map(drop))
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
