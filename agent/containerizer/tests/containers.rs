//! What the containerizer promises, on the real kernel.
//!
//! Needs root: control groups and namespaces are made for real, and some of it once more by another user. Each test works in a [`Lab`] of its own and
//! ends with `finish`, which destroys what it made and proves that nothing is left: no process, control
//! group, mount, file or open descriptor, and with them no namespace.

#[path = "containers/lab.rs"]
mod lab;

#[path = "containers/delegated.rs"]
mod delegated;
#[path = "containers/ends.rs"]
mod ends;
#[path = "containers/escapes.rs"]
mod escapes;
#[path = "containers/failpoints.rs"]
mod failpoints;
#[path = "containers/groups.rs"]
mod groups;
#[path = "containers/inside.rs"]
mod inside;
#[path = "containers/launches.rs"]
mod launches;
#[path = "containers/leaks.rs"]
mod leaks;
#[path = "containers/limits.rs"]
mod limits;
#[path = "containers/logs.rs"]
mod logs;
#[path = "containers/many.rs"]
mod many;
#[path = "containers/network.rs"]
mod network;
#[path = "containers/process_isolation.rs"]
mod process_isolation;
#[path = "containers/quota.rs"]
mod quota;
#[path = "containers/recovery.rs"]
mod recovery;
#[path = "containers/rootfs.rs"]
mod rootfs;
#[path = "containers/rootless.rs"]
mod rootless;
#[path = "containers/steps.rs"]
mod steps;
#[path = "containers/system_calls.rs"]
mod system_calls;
#[path = "containers/systemd.rs"]
mod systemd;
#[path = "containers/unlinked.rs"]
mod unlinked;
#[path = "containers/upgrade.rs"]
mod upgrade;
#[path = "containers/users.rs"]
mod users;
#[path = "containers/version_1.rs"]
mod version_1;
#[path = "containers/view.rs"]
mod view;
#[path = "containers/volumes.rs"]
mod volumes;
