//! How any Bourse program finds and calls a master or an agent.
//!
//! **What is this room for?** The command line, the SDK, the service framework and the agent all have to answer the
//! same questions before their first call: which address, which token, plain or TLS, how large may a message be. They
//! are answered here, once: [`Settings`] says what is known and where each value came from, [`Connection`] is what
//! calls are made with.
//!
//! **What does it promise?** A token never travels in the clear to another machine unless somebody said `insecure`, and
//! is never sent to a master that it was not meant for. No token is ever printed. Every error says what was tried,
//! what is wrong and what to do.
//!
//! **What does it leave to others?** Reconnecting after a lost connection and what to do about it (the SDK's session,
//! the agent's link), and exit codes (the command line).

#![warn(missing_docs)]

pub mod connection;
pub mod context;
pub mod limits;
pub mod settings;
pub mod target;
pub mod token;

#[cfg(feature = "clap")]
pub mod args;

#[cfg(feature = "clap")]
pub use args::ClientArgs;
pub use connection::{Bearer, CallError, ConnectError, Connection, Service};
pub use context::{BadContext, Context};
pub use limits::{AGENT_PORT, MASTER_PORT, MESSAGE_BYTES_MAX};
pub use settings::{Given, Origin, Peer, Settings, SettingsError};
pub use target::{BadTarget, Scheme, Target};
pub use token::{BadToken, Token, TokenSource, bearer, same_secret};
