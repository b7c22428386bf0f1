//! What the end-to-end tests are made of: a cluster of real processes, and witnesses outside it.
//!
//! **What is this room for?** The tests in `tests/all` start masters, agents and service frameworks of the one binary
//! on loopback or on hosts of a network of their own, do to them what happens to real ones (`kill -9` first of all; links,
//! disks and clocks that fail), and look from outside whether the promises hold. A file there is a promise; `tests/storm`
//! does all of it at once.
//!
//! **What does it promise?** Every test has an address, a folder and ports of its own, so that all run at once. What a
//! test starts ends with it, also when it fails, and nothing else does; a test that passes has also proven that no
//! control group, mount, process or listener of its cluster is left. Whether something ran is told by a [`Ledger`] that
//! tasks write themselves, not by the cluster's own word. Nothing sleeps for luck: a condition is waited for, with a
//! deadline.
//!
//! **What does it leave to others?** Rules: the stories of the cores. Rare orders of events: the simulator. Numbers:
//! `bench`.

#![warn(missing_docs)]

pub mod binary;
pub mod browser;
pub mod place;
pub mod tree;
pub mod wait;

pub mod chance;
pub mod clock;
pub mod disks;
pub mod hosts;
pub mod net;
pub mod proxy;
pub mod room;

pub mod api;
pub mod cli;
pub mod cluster;
pub mod part;
pub mod plan;

pub mod audit;
pub mod leaks;
pub mod ledger;
pub mod process;

pub mod journal;
pub mod load;
pub mod reader;
pub mod recording;

pub use api::Api;
pub use cli::{Cli, Ran};
pub use cluster::Cluster;
pub use journal::Journal;
pub use ledger::Ledger;
pub use load::Load;
pub use part::Part;
pub use plan::Plan;
pub use reader::Reader;
pub use wait::{PATIENCE, wait_for, wait_until};
