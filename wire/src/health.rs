//! Health checks and kill policies.

use std::time::Duration;

use bourse_proto::v1;
use bourse_proto::v1::health_check::{HttpCheckInfo, TcpCheckInfo, Type};
use bourse_proto::v1::network_info::Protocol;
use bourse_types::{HealthCheck, HealthKind, KillPolicy, Scheme};

use crate::at::{At, Missing, Place, Under, needed};
use crate::command::{self, BadCommand};
use crate::time::{self, BadTime};

/// A health check or kill policy that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadHealth {
    /// A required field that was not sent, or not the part that the type announces.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// No type, or one that this release does not know.
    #[error("the health check is neither COMMAND, HTTP nor TCP; set its type")]
    Type,
    /// A part of another type beside the announced one.
    #[error("the type is {0}, but this part is set too; leave it out")]
    OtherPart(&'static str),
    /// A span that is none.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// A bad command.
    #[error(transparent)]
    Command(#[from] BadCommand),
    /// A port that no machine has.
    #[error("{0} is no port; send a number from 1 to 65535")]
    Port(u32),
    /// A path that is not one.
    #[error("the path {0:?} does not begin with a slash; write it as /health")]
    Path(String),
    /// Another scheme than HTTP.
    #[error("the scheme {0:?} is not known; send http or https")]
    Scheme(String),
    /// A status that HTTP does not have.
    #[error("{0} is no HTTP status; send numbers from 100 to 599")]
    Status(u32),
    /// A check over IPv6.
    #[error("this release checks health over IPv4 only; leave the protocol out")]
    Protocol,
}

/// Reads a health check; what is not sent has Mesos' default.
pub fn read(form: &v1::HealthCheck) -> Result<HealthCheck, At<BadHealth>> {
    let span = |name: &str, seconds: f64| time::read_seconds(seconds).at::<BadHealth>(name);
    Ok(HealthCheck {
        kind: read_kind(form)?,
        delay: span("delay_seconds", form.delay_seconds())?,
        interval: span("interval_seconds", form.interval_seconds())?,
        timeout: span("timeout_seconds", form.timeout_seconds())?,
        consecutive_failures: form.consecutive_failures(),
        grace_period: span("grace_period_seconds", form.grace_period_seconds())?,
    })
}

fn read_kind(form: &v1::HealthCheck) -> Result<HealthKind, At<BadHealth>> {
    let kind = form.r#type.map(Type::try_from).and_then(Result::ok).ok_or(BadHealth::Type).at("type")?;
    let present = [
        (Type::Command, "command", form.command.is_some()),
        (Type::Http, "http", form.http.is_some()),
        (Type::Tcp, "tcp", form.tcp.is_some()),
    ];
    if let Some((_, other, _)) = present.into_iter().find(|(of, _, is_set)| *is_set && *of != kind) {
        return Err(At::new(other, BadHealth::OtherPart(kind.as_str_name())));
    }
    match kind {
        Type::Command => {
            let command: &v1::CommandInfo = needed("command", &form.command)?;
            command::read(command).under("command").map(HealthKind::Command)
        }
        Type::Http => {
            let http: &HttpCheckInfo = needed("http", &form.http)?;
            read_http(http).under("http")
        }
        Type::Tcp => {
            let tcp: &TcpCheckInfo = needed("tcp", &form.tcp)?;
            check_protocol(tcp.protocol).at("tcp.protocol")?;
            read_port(&tcp.port).under("tcp").map(|port| HealthKind::Tcp { port })
        }
        Type::Unknown => Err(At::new("type", BadHealth::Type)),
    }
}

fn read_http(form: &HttpCheckInfo) -> Result<HealthKind, At<BadHealth>> {
    check_protocol(form.protocol).at("protocol")?;
    let path = form.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') {
        return Err(At::new("path", BadHealth::Path(path.chars().take(64).collect())));
    }
    let scheme = match form.scheme.as_deref() {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => return Err(At::new("scheme", BadHealth::Scheme(other.chars().take(64).collect()))),
    };
    let status = |(at, status): (usize, &u32)| match u16::try_from(*status) {
        Ok(known @ 100..=599) => Ok(known),
        _ => Err(At::new(format_args!("statuses[{at}]"), BadHealth::Status(*status))),
    };
    let statuses = form.statuses.iter().enumerate().map(status).collect::<Result<_, _>>()?;
    Ok(HealthKind::Http { port: read_port(&form.port)?, path: path.to_owned(), scheme, statuses })
}

fn read_port(form: &Option<u32>) -> Result<u16, At<BadHealth>> {
    let number: u32 = *needed("port", form)?;
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(At::new("port", BadHealth::Port(number))),
    }
}

fn check_protocol(number: Option<i32>) -> Result<(), BadHealth> {
    match number {
        None => Ok(()),
        Some(number) if number == Protocol::IPv4 as i32 => Ok(()),
        Some(_) => Err(BadHealth::Protocol),
    }
}

/// The health check as a message, with every default said.
pub fn write(check: &HealthCheck) -> v1::HealthCheck {
    let form = v1::HealthCheck {
        delay_seconds: Some(time::write_seconds(check.delay)),
        interval_seconds: Some(time::write_seconds(check.interval)),
        timeout_seconds: Some(time::write_seconds(check.timeout)),
        consecutive_failures: Some(check.consecutive_failures),
        grace_period_seconds: Some(time::write_seconds(check.grace_period)),
        ..Default::default()
    };
    match &check.kind {
        HealthKind::Http { port, path, scheme, statuses } => v1::HealthCheck {
            r#type: Some(Type::Http as i32),
            http: Some(HttpCheckInfo {
                protocol: None,
                scheme: Some(scheme.as_str().to_owned()),
                port: Some(u32::from(*port)),
                path: Some(path.clone()),
                statuses: statuses.iter().map(|status| u32::from(*status)).collect(),
            }),
            ..form
        },
        HealthKind::Tcp { port } => v1::HealthCheck {
            r#type: Some(Type::Tcp as i32),
            tcp: Some(TcpCheckInfo { protocol: None, port: Some(u32::from(*port)) }),
            ..form
        },
        HealthKind::Command(command) => v1::HealthCheck {
            r#type: Some(Type::Command as i32),
            command: Some(command::write(command)),
            ..form
        },
    }
}

/// Reads how to end a task; an absent message or field leaves the grace to the agent.
pub fn read_kill_policy(form: Option<&v1::KillPolicy>) -> Result<KillPolicy, At<BadHealth>> {
    let grace = form.and_then(|form| form.grace_period.as_ref());
    let grace: Option<Duration> =
        grace.map(|grace| time::read_duration(grace).under::<BadHealth>("grace_period")).transpose()?;
    Ok(KillPolicy { grace })
}

/// The kill policy as a message, or none where it leaves everything to the agent.
pub fn write_kill_policy(policy: KillPolicy) -> Option<v1::KillPolicy> {
    policy.grace.map(|grace| v1::KillPolicy { grace_period: Some(time::write_duration(grace)) })
}
