//! Ports for what the bench starts.

use std::net::TcpListener;

use anyhow::bail;

/// The first of so many ports in a row that nobody has right now.
pub fn free(count: u16) -> anyhow::Result<u16> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if (first..first.saturating_add(count)).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("no {count} free ports in a row; see what listens on 127.0.0.1")
}
