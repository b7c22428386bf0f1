//! The settings of a part: from a flag, the environment, a file or by default, the first that has one.
//!
//! **What is this room for?** Master and agent are told what they are to do in the same three places, and by the same
//! names: `--work-dir`, `BOURSE_AGENT_WORK_DIR`, `work-dir` in the file that `--config` names. Where a value is looked
//! for, who wins, and what is said of one that is wrong is decided here, once; a part names each of its settings once,
//! with its default and the way it is read.
//!
//! **What does it promise?** All that is wrong is told at once, each with where it came from; an unknown key in the file
//! has its line, column and the name that was probably meant. Every value can be shown with its origin. Nothing is read
//! but the environment and that one file.
//!
//! **What does it leave to others?** Which settings there are and what goes with what: each part's `config`. Opening the
//! files that they name.

#![warn(missing_docs)]

pub mod parse;

mod file;
mod layers;
mod resolved;

pub use layers::{Layers, Origin, Problem, TlsFiles, Value};
pub use resolved::{InvalidSettings, Resolved, resolve};

#[cfg(test)]
mod tests;
