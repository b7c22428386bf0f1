//! Resources as people read them.

use bourse_proto::operator as wire;
use bourse_types::Resources;

use crate::usage::Total;

/// All that people look at, and the usual form of everything.
pub(super) fn of(resources: &Resources) -> wire::Amounts {
    let ports = resources.ports();
    wire::Amounts {
        cpus: resources.cpus().as_f64(),
        mem_mib: resources.mem().as_f64(),
        disk_mib: resources.disk().as_f64(),
        gpus: resources.gpus().as_f64(),
        ports: if ports.is_empty() { String::new() } else { ports.to_string() },
        text: resources.to_string(),
    }
}

/// What was measured.
pub(super) fn used(total: Total) -> wire::Amounts {
    let (mem_mib, disk_mib) = (mib(total.memory_bytes), mib(total.disk_bytes));
    wire::Amounts {
        cpus: total.cpus,
        mem_mib,
        disk_mib,
        text: format!("cpus:{:.3}; mem:{mem_mib:.1}; disk:{disk_mib:.1}", total.cpus),
        ..wire::Amounts::default()
    }
}

/// Bytes as mebibytes.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
