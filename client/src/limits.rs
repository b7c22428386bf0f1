//! Numbers that both ends of a connection must agree on.

use std::time::Duration;

/// Where a master listens unless told otherwise.
pub const MASTER_PORT: u16 = 5050;

/// Where an agent listens unless told otherwise.
pub const AGENT_PORT: u16 = 5051;

/// The most bytes that one message may have, either way; a larger one is refused by whoever reads it.
///
/// The largest honest messages are an ACCEPT and a page of a list: a few KiB for each of a thousand tasks. gRPC's own
/// default (4 MiB) is too near to that, and four times as much is still nothing that hurts a master when a hostile
/// client sends it.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long opening a connection may take before it counts as "nobody answers".
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An idle connection is asked this often whether the other end is still there. Shorter than the idle timeouts of the
/// usual firewalls and NATs, which drop silent connections without telling either end.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer to that may take before the connection counts as broken.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
