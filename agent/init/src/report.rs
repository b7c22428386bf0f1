//! The report socket: the conversation while a container is being set up.
//!
//! One `SOCK_SEQPACKET` pair between the agent and the first process of the container. The task's process
//! says [`READY`] when all is set up and only the program is missing; the kernel attaches the sender's
//! process id as the agent sees it, which is how the agent learns the pid of a process in another pid
//! namespace. The agent writes down who it started and answers [`GO`]. Then the socket closes by itself: a
//! successful `execve` closes the last copy in the container. Instead of that a failure is one message, a
//! [`Record`](crate::record::Record) line.
//!
//! An agent that dies before `GO` leaves nothing behind: the process reads end of file, and goes. So a task
//! runs if and only if there is a file that tells who it is.

/// The task's process is set up and waits.
pub const READY: &[u8] = b"ready";

/// The agent has written down who runs: start the program.
pub const GO: &[u8] = b"go";

/// The longest message, in bytes.
pub const MESSAGE_MAX: usize = 4096;
