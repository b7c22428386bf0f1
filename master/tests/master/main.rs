//! The master's shell, over real connections: a driver, stores in memory, every door on a free port.

mod harness;
mod stage;

mod greedy;
mod hostile;
mod liars;
mod operators;
mod pages;
mod recovery;
mod sequences;
mod standard;
mod tasks;
mod tokens;
mod watching;
