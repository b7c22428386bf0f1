//! A place of its own for each cluster, so that all tests of all runs on a machine can listen at once.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports that a cluster gives to its tasks.
const PORTS: u16 = 40;
/// Ports are taken from below those that the kernel gives to whoever asks for any (32768 and up, by default).
const FIRST: u16 = 20_000;
const BLOCKS: u32 = 300;

/// How many places this process has given out.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// A loopback address, with all its ports, that nobody else uses.
///
/// All of 127.0.0.0/8 is this machine. The address is made of this process' id and a count, so that no two tests share
/// one, and with it nobody has to hunt for free ports: a master listens at 5050 as anywhere.
pub fn address() -> Ipv4Addr {
    let (process, given) = (process::id(), GIVEN.fetch_add(1, Ordering::Relaxed));
    // 64 and up: people who use more than 127.0.0.1 begin low.
    let [_, high, low, _] = (process << 8).to_be_bytes();
    Ipv4Addr::new(127, 64 + (given % 64) as u8, high, low)
}

/// A block of ports of 127.0.0.1 that are free and that no other test of this process was given.
///
/// # Panics
/// When all are taken.
pub fn ports(count: u16) -> RangeInclusive<u16> {
    assert!(count <= PORTS, "a block has {PORTS} ports");
    for _ in 0..BLOCKS {
        let block = (process::id().wrapping_mul(64) + GIVEN.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let first = FIRST + block as u16 * PORTS;
        let ports = first..=first + count - 1;
        if ports.clone().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return ports;
        }
    }
    panic!("no {count} ports in a row are free from {FIRST} on");
}
