//! What a task has of its own where others share the machine's: fields of Bourse in Mesos' settings for Linux.
//!
//! What else those settings say, this release's agents do not do, and it is refused by name. Mesos' list of networks is
//! not used for it: an empty one means the machine's there, and one that is not asks for a plugin.

use bourse_proto::v1::LinuxInfo;
use bourse_types::{Namespaces, Network, Users};

use crate::at::At;
use crate::task::BadTask;

/// Reads them; absent fields mean the machine's.
pub(crate) fn read(form: Option<&LinuxInfo>) -> Result<Namespaces, At<BadTask>> {
    let Some(form) = form else { return Ok(Namespaces::default()) };
    let unsupported = [
        ("container.linux_info.capability_info", form.capability_info.is_some()),
        ("container.linux_info.bounding_capabilities", form.bounding_capabilities.is_some()),
        ("container.linux_info.effective_capabilities", form.effective_capabilities.is_some()),
        ("container.linux_info.share_pid_namespace", form.share_pid_namespace.is_some()),
        ("container.linux_info.seccomp", form.seccomp.is_some()),
        ("container.linux_info.ipc_mode", form.ipc_mode.is_some()),
        ("container.linux_info.shm_size", form.shm_size.is_some()),
        ("container.linux_info.share_cgroups", form.share_cgroups.is_some()),
    ];
    if let Some((path, _)) = unsupported.into_iter().find(|(_, is_set)| *is_set) {
        return Err(At::new(path, BadTask::Unsupported(path)));
    }
    Ok(Namespaces {
        network: if form.own_network() { Network::Loopback } else { Network::Host },
        users: if form.own_users() { Users::Own } else { Users::Machine },
    })
}

/// Absent where all is the machine's.
pub(crate) fn write(namespaces: Namespaces) -> Option<LinuxInfo> {
    let Namespaces { network, users } = namespaces;
    (namespaces != Namespaces::default()).then(|| LinuxInfo {
        own_network: (network == Network::Loopback).then_some(true),
        own_users: (users == Users::Own).then_some(true),
        ..Default::default()
    })
}
