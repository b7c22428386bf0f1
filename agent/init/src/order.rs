//! What the first process of a container is told to do while the task runs: a signal each.
//!
//! Signals and not a socket, because whoever may end a task has nothing else in hand: an agent that was restarted
//! holds a pid descriptor, and a person has `kill`. An order that comes again is obeyed again.

/// SIGTERM: ask every process of the task to end. From then on the container ends with its last process, and no
/// longer with the main one, so that all of them have the time they were given.
pub const END: i32 = 15;

/// Kill every process of the task, at once and without asking. A real-time signal (`SIGRTMIN` is 34 with glibc),
/// as all others mean something else to somebody.
pub const KILL: i32 = 40;
