//! The task of an instance: its command, environment, resources and health check, as the SDK launches it.

use std::time::Duration;

use bourse_sdk_core::Task;
use bourse_types::{Command, HealthCheck, HealthKind, Network, Scheme, Users};

use crate::plan::Launch;
use crate::spec::{CommandLine, Health, Probe, ServiceSpec};

/// Makes the task. It is named like its slot, `web.0`, so that people find it under one name through all restarts.
///
/// Its environment is the file's, then what Bourse tells it: `PORT0` and so on, `PORT_HTTP` for a port named `http`,
/// `BOURSE_SERVICE`, `BOURSE_SLOT` and `BOURSE_INSTANCE`.
pub fn task(launch: &Launch, spec: &ServiceSpec) -> Task {
    let template = &spec.template;
    let environment = environment(launch, spec);
    let task =
        Task::new(launch.task.clone()).name(launch.slot.to_string()).resources(launch.resources.clone());
    let task = match &template.command {
        CommandLine::Shell(line) => task.command(line.clone()),
        CommandLine::Argv(argv) => task.exec(argv.iter().cloned()),
    };
    let task = task.grace(template.kill_grace).label("bourse-service", Some(spec.name.as_str()));
    let task = environment.iter().fold(task, |task, (name, value)| task.env(name.clone(), value.clone()));
    let task = template.volumes.iter().cloned().fold(task, Task::volume);
    let limits = template.limits.iter();
    let task = limits.fold(task, |task, (name, limit)| task.limit(name.clone(), *limit));
    let task = task.controls(template.controls.clone());
    let task = match &template.rootfs {
        Some(rootfs) => task.rootfs(rootfs.clone()),
        None => task,
    };
    let task = if template.exclusive_cpus { task.exclusive_cpus() } else { task };
    let task = match template.namespaces.network {
        Network::Loopback => task.own_network(),
        Network::Host => task,
    };
    let task = match template.namespaces.users {
        Users::Own => task.own_users(),
        Users::Machine => task,
    };
    let task = match &template.user {
        Some(user) => task.user(user.clone()),
        None => task,
    };
    match &template.health {
        Some(check) => task.health(health(check, launch, environment)),
        None => task,
    }
}

fn environment(launch: &Launch, spec: &ServiceSpec) -> Vec<(String, String)> {
    let mut environment: Vec<_> =
        spec.template.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    for (index, (port, name)) in launch.ports.iter().zip(&spec.template.ports).enumerate() {
        environment.push((format!("PORT{index}"), port.to_string()));
        environment.extend(name.as_ref().map(|name| (name.variable(), port.to_string())));
    }
    environment.push(("BOURSE_SERVICE".into(), spec.name.as_str().into()));
    environment.push(("BOURSE_SLOT".into(), launch.slot.index.to_string()));
    environment.push(("BOURSE_INSTANCE".into(), launch.slot.to_string()));
    environment
}

fn health(check: &Health, launch: &Launch, environment: Vec<(String, String)>) -> HealthCheck {
    let port = |index: &usize| launch.ports.get(*index).copied().unwrap_or_default();
    let kind = match &check.probe {
        Probe::Http { path, port: index } => HealthKind::Http {
            port: port(index),
            path: path.clone(),
            scheme: Scheme::Http,
            statuses: Vec::new(),
        },
        Probe::Tcp { port: index } => HealthKind::Tcp { port: port(index) },
        Probe::Command(CommandLine::Shell(line)) => {
            HealthKind::Command(Command { environment, ..Command::shell(line.clone()) })
        }
        Probe::Command(CommandLine::Argv(argv)) => {
            HealthKind::Command(Command { environment, ..Command::exec(argv.iter().cloned()) })
        }
    };
    HealthCheck {
        kind,
        // The grace already forgives a slow start, and a quick one should count at once.
        delay: Duration::ZERO,
        interval: check.interval,
        timeout: check.timeout,
        consecutive_failures: check.failures,
        grace_period: check.grace,
    }
}
