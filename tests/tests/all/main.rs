//! The promises that need real processes: one file each.
//!
//! Issue by issue this grows; a test is a sentence that a user could be told. What they are made of is in the library
//! of this crate.

mod besieged;
mod cli;
mod dev;
mod disks;
mod docs;
mod greedy;
mod hostile;
mod house;
mod kill9;
mod lab;
mod limits;
mod page;
mod replay;
mod resize;
mod run;
mod services;
mod stopped;
mod traces;
mod upgrade;
