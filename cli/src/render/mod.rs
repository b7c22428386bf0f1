//! What verbs print: tables for people, JSON for programs, nothing else on standard output.
//!
//! The JSON is the API's own messages with snake_case names. Prose and progress go to standard error.

mod json;
mod table;
mod words;

pub use bourse_words::{
    Tone, memory_bounds, mib, needs_a_look, prose, sentence, share, short, state, throttled, usage,
};
pub use json::json;
pub use table::{Table, cell, toned};
pub use words::{Shorts, ago, amounts, count, exit, left, used};

use clap::ValueEnum;

/// How a verb prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// The API's message; with `-f` each time as one line.
    Json,
    /// Ids alone, one a line.
    Name,
}
