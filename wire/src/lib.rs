//! Where wire messages become domain types, and back.
//!
//! **What is this room for?** Every door (gRPC, the Mesos v1 HTTP API), the agent link and the disk forms
//! carry the messages of `bourse_proto::v1`; cores and SDK speak in `bourse_types`. The two meet here and
//! nowhere else: one module a noun, each with `read` (wire to domain) and `write` (domain to wire).
//!
//! **What does it promise?** A value that was read is valid: what is missing, negative, not a number, out of
//! range or contradicts itself is refused, by an error that names the path of the field ([`At`]), what is
//! wrong with it and what to do. What the domain cannot say and must not be lost silently (an executor, an
//! image, files to fetch) is refused too. What was written is read back as the same value. Floats become
//! exact amounts here and are not seen further in.
//!
//! **What does it leave to others?** Whether a call makes sense (an offer that still holds, a role that may
//! be used, a task that fits) is for the cores. Fields that the master only carries never come here: see
//! `bourse_proto::v1::carrier`.

#![warn(missing_docs)]

mod at;

pub mod ids;
pub mod role;
pub mod time;

pub mod labels;

pub mod attributes;
pub mod resources;

pub mod agent;
pub mod framework;

pub mod command;
pub mod filters;
pub mod health;
pub mod linux_info;
pub mod size;
pub mod task;
pub mod volumes;

pub mod status;

pub use at::{At, Missing, Place, Under};
pub use resources::Form;
