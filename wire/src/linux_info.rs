//! What a task asks of the kernel, and what it has of its own where others share the machine's: fields of ours in Mesos'
//! settings of Linux.
//!
//! Mesos' own settings there are refused by name, as agents do not have them. Mesos' list of networks is not used for a
//! network of the task's own: an empty one means the machine's there, and one that is not asks for a plugin.

use bourse_proto::v1;
use bourse_proto::v1::linux_info::HugePages;
use bourse_types::{
    BadControl, Controls, IoWeight, Milli, Namespaces, Network, OomScore, PageSize, Pids, TaskSpec, Users,
};

use crate::at::{At, Missing, Place, Under, needed};
use crate::resources::{self, BadResource};

/// Settings that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadLinuxInfo {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// What no machine can do.
    #[error(transparent)]
    Control(#[from] BadControl),
    /// A number that is no amount.
    #[error(transparent)]
    Amount(#[from] BadResource),
    /// Something that agents do not provide.
    #[error("this release's agents decide that for every task; leave {0} out")]
    Unsupported(&'static str),
}

/// Reads what a task asks of the kernel, and what it has of its own; without settings, nothing.
pub fn read(form: Option<&v1::LinuxInfo>) -> Result<(Controls, Namespaces), At<BadLinuxInfo>> {
    let Some(form) = form else { return Ok(Default::default()) };
    refuse_unsupported(form)?;
    let amount = |name: &str, units: Option<f64>| match units {
        Some(units) => resources::read_amount(name, units).at::<BadLinuxInfo>(name),
        None => Ok(Milli::ZERO),
    };
    let mut controls = Controls {
        cpu_burst: amount("cpu_burst", form.cpu_burst)?,
        swap: amount("swap", form.swap)?,
        pids: form.pids.map(Pids::new).transpose().at("pids")?,
        io_weight: form.io_weight.map(|weight| IoWeight::new(weight.into())).transpose().at("io_weight")?,
        oom_score: OomScore::new(form.oom_score().into()).at("oom_score")?,
        ..Controls::default()
    };
    for (index, pages) in form.huge_pages.iter().enumerate() {
        read_huge_pages(pages, &mut controls).under(format_args!("huge_pages[{index}]"))?;
    }
    let namespaces = Namespaces {
        network: if form.own_network() { Network::Loopback } else { Network::Host },
        users: if form.own_users() { Users::Own } else { Users::Machine },
    };
    Ok((controls, namespaces))
}

fn read_huge_pages(form: &HugePages, controls: &mut Controls) -> Result<(), At<BadLinuxInfo>> {
    let bytes: u64 = *needed("page_bytes", &form.page_bytes)?;
    let units: f64 = *needed("mem", &form.mem)?;
    let size = PageSize::from_bytes(bytes).at("page_bytes")?;
    let amount = resources::read_amount("mem", units).at("mem")?;
    controls.add_huge_pages(size, amount).at("")
}

fn refuse_unsupported(form: &v1::LinuxInfo) -> Result<(), At<BadLinuxInfo>> {
    let refuse = |path: &'static str, is_set: bool| match is_set {
        true => Err(At::new(path, BadLinuxInfo::Unsupported(path))),
        false => Ok(()),
    };
    refuse("capability_info", form.capability_info.is_some())?;
    refuse("bounding_capabilities", form.bounding_capabilities.is_some())?;
    refuse("effective_capabilities", form.effective_capabilities.is_some())?;
    refuse("share_pid_namespace", form.share_pid_namespace.is_some())?;
    refuse("seccomp", form.seccomp.is_some())?;
    refuse("ipc_mode", form.ipc_mode.is_some())?;
    refuse("shm_size", form.shm_size.is_some())?;
    refuse("share_cgroups", form.share_cgroups.is_some())
}

/// What a task asks for as a message; absent where that is nothing.
pub fn write(task: &TaskSpec) -> Option<v1::LinuxInfo> {
    let TaskSpec { controls, namespaces, exclusive_cpus, .. } = task;
    if *controls == Controls::default() && *namespaces == Namespaces::default() && !exclusive_cpus {
        return None;
    }
    let Controls { cpu_burst, swap, pids, io_weight, huge_pages, oom_score } = controls;
    let some = |amount: &Milli| (!amount.is_zero()).then(|| amount.as_f64());
    let pages = |(size, amount): (&PageSize, &Milli)| HugePages {
        page_bytes: Some(size.bytes()),
        mem: Some(amount.as_f64()),
    };
    Some(v1::LinuxInfo {
        cpu_burst: some(cpu_burst),
        swap: some(swap),
        pids: pids.map(Pids::get),
        io_weight: io_weight.map(|weight| u32::from(weight.get())),
        huge_pages: huge_pages.iter().map(pages).collect(),
        oom_score: (*oom_score != OomScore::default()).then(|| u32::from(oom_score.get())),
        exclusive_cpus: exclusive_cpus.then_some(true),
        own_network: (namespaces.network == Network::Loopback).then_some(true),
        own_users: (namespaces.users == Users::Own).then_some(true),
        ..Default::default()
    })
}
