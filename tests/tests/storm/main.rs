//! Storms: everything that can fail fails, at moments that a seed draws, under a cluster on hosts of its own; and in the end
//! nothing was lost, doubled or left behind.
//!
//! `STORM_SEED` and `STORM_SECONDS` say which storm and how long; the same seed strikes at the same times at the same parts,
//! though what happens in between is the machine's own affair. `make storm SECONDS=3600` is a long one.

mod nemesis;
mod operator;
mod storm;

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bourse_tests::net::in_a_network;

/// How long a storm is when nobody says.
const SECONDS: u64 = 120;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")))
}

#[test]
fn a_storm_of_all_that_can_fail_loses_nothing_runs_nothing_twice_and_leaves_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let seed = number("STORM_SEED").unwrap_or(now.as_millis() as u64 % 1_000_000);
    let seconds = number("STORM_SECONDS").unwrap_or(SECONDS);
    println!("replay: STORM_SEED={seed} STORM_SECONDS={seconds} cargo test -p bourse-tests --test storm");
    in_a_network(|switch| storm::run(switch, seed, Duration::from_secs(seconds)));
}
