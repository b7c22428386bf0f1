//! From text to [`ServiceSpec`], table by table.
//!
//! Reading goes on after a problem: a value that is wrong reads as its default, so that one run tells all that is
//! wrong. The spec is handed out only if nothing was.

use std::collections::BTreeMap;
use std::time::Duration;

use bourse_types::controls::parse_huge_pages;
use bourse_types::{
    Controls, IO_WEIGHT_MAX, IoWeight, Milli, Name, Namespaces, Network, OOM_SCORE_MAX, OomScore, Pids, Role,
    Rootfs, Users, Volume,
};
use toml::de::{DeTable, DeValue};

use super::fields::{Field, Fields, kind_of};
use super::problem::Problems;
use super::{
    Backoff, BadSpec, COUNT_MAX, CommandLine, FILE_BYTES_MAX, Health, Needs, PORTS_MAX, PortName, Probe,
    ServiceName, ServiceSpec, Spread, Template,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// More cpus than any machine has.
const CPUS_MAX: Milli = Milli::whole(100_000);
/// More memory than any machine has, in MiB.
const MEM_MAX: Milli = Milli::whole(64 * 1024 * 1024);
/// More processes than a kernel has numbers for (`PID_MAX_LIMIT`).
const PIDS_MAX: u32 = 4 * 1024 * 1024;
/// How no limit is said.
const UNLIMITED: &str = "unlimited";
/// Below this a check or a retry would cost more than what it watches.
const TENTH: Duration = Duration::from_millis(100);

/// Reads a service file. `file` is its name, used in error messages only.
///
/// Refuses, with every problem at once: what is not TOML, unknown keys, values of the wrong kind or out of range,
/// more than [`FILE_BYTES_MAX`] bytes.
pub fn parse(text: &str, file: &str) -> Result<ServiceSpec, BadSpec> {
    let mut problems = Problems::new(file, text);
    if text.len() > FILE_BYTES_MAX {
        let bytes = text.len();
        problems.add_missing(format!(
            "the file has {bytes} bytes, the most is {FILE_BYTES_MAX}; keep data out of it"
        ));
        return problems.or(None);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span().unwrap_or_default(), error.message());
    }
    // What the parser recovered from a broken file is half of it: keys would be called missing that are there.
    let spec = if problems.is_empty() { spec(document.get_ref(), &mut problems) } else { None };
    problems.or(spec)
}

fn spec(document: &DeTable, problems: &mut Problems) -> Option<ServiceSpec> {
    let file = Fields::open("", document, 0..0, problems);
    let name = name(&file, problems);
    let count = file.get("count").and_then(|count| count.whole(problems, 0..=COUNT_MAX));
    let template = template(&file, problems);
    let restart = restart(&file, problems);
    let spread = spread(&file, problems);
    let replace_unreachable_after = file
        .get("replace_unreachable_after")
        .and_then(|field| field.duration(problems, Duration::ZERO, 7 * DAY))
        .unwrap_or(10 * SECOND);
    Some(ServiceSpec { name: name?, count, template: template?, restart, spread, replace_unreachable_after })
}

fn name(file: &Fields, problems: &mut Problems) -> Option<ServiceName> {
    let Some(field) = file.get("name") else {
        file.missing("name", problems, "the service has no name; write one: name = \"web\"");
        return None;
    };
    let text = field.text(problems, "a text such as \"web\"")?;
    ServiceName::new(text).map_err(|bad| problems.add(field.span(), format!("name: {bad}"))).ok()
}

fn template(file: &Fields, problems: &mut Problems) -> Option<Template> {
    let command = match file.get("command") {
        Some(field) => command(&field, problems),
        None => {
            file.missing(
                "command",
                problems,
                "the service has no command; write one: command = \"sleep 1000\"",
            );
            None
        }
    };
    let ports = file.get("ports").map(|field| ports(&field, problems)).unwrap_or_default();
    let (resources, exclusive_cpus) = needs(file, problems);
    let (limits, controls) = limits(file, &resources, problems);
    let namespaces = namespaces(file, problems);
    let health = health(file, &ports, problems);
    asked_where_it_is(file, namespaces.network, health.as_ref(), problems);
    Some(Template {
        resources,
        exclusive_cpus,
        limits,
        controls,
        env: env(file, &ports, problems),
        rootfs: file.get("rootfs").and_then(|field| rootfs(&field, problems)),
        volumes: file.get("volumes").map(|field| volumes(&field, problems)).unwrap_or_default(),
        namespaces,
        user: file.get("user").and_then(|field| user(&field, problems)),
        role: file.get("role").and_then(|field| role(&field, problems)),
        health,
        kill_grace: file
            .get("kill_grace")
            .and_then(|field| field.duration(problems, Duration::ZERO, HOUR))
            .unwrap_or(5 * SECOND),
        command: command?,
        ports,
    })
}

fn command(field: &Field, problems: &mut Problems) -> Option<CommandLine> {
    match field.value {
        DeValue::String(line) if line.trim().is_empty() => {
            problems.add(field.span(), format!("{} is empty; write what runs", field.path()));
            None
        }
        DeValue::String(line) => {
            no_nul(line, field, problems).then(|| CommandLine::Shell(line.clone().into_owned()))
        }
        DeValue::Array(items) => {
            let mut argv = Vec::with_capacity(items.len());
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::String(text) if no_nul(text, field, problems) => {
                        argv.push(text.clone().into_owned())
                    }
                    DeValue::String(_) => return None,
                    other => {
                        let (path, kind) = (field.path(), kind_of(other));
                        problems.add(
                            item.span(),
                            format!("{path} holds {kind}; every argument must be in quotes"),
                        );
                        return None;
                    }
                }
            }
            if argv.first().is_none_or(String::is_empty) {
                problems.add(field.span(), format!("{} names no program; write it first", field.path()));
                return None;
            }
            Some(CommandLine::Argv(argv))
        }
        _ => {
            field.wrong(problems, "a text for the shell, or an array: [\"program\", \"argument\"]");
            None
        }
    }
}

fn no_nul(text: &str, field: &Field, problems: &mut Problems) -> bool {
    let right = !text.contains('\0');
    if !right {
        problems
            .add(field.span(), format!("{} holds a NUL byte, which no process can be given", field.path()));
    }
    right
}

/// What an instance needs, and whether its cpus are its own.
fn needs(file: &Fields, problems: &mut Problems) -> (Needs, bool) {
    let mut needs = Needs { cpus: Milli::new(100), mem: Milli::whole(128), disk: Milli::ZERO };
    let Some(table) = file.table("resources", problems) else { return (needs, false) };
    if let Some(cpus) = table.get("cpus") {
        needs.cpus = cpus.number(problems, Milli::new(10), CPUS_MAX).unwrap_or(needs.cpus);
    }
    if let Some(mem) = table.get("mem") {
        needs.mem = mem.size(problems, Milli::whole(4), MEM_MAX).unwrap_or(needs.mem);
    }
    if let Some(disk) = table.get("disk") {
        needs.disk = disk.size(problems, Milli::ZERO, Milli::whole(1024 * 1024 * 1024)).unwrap_or(needs.disk);
    }
    let Some(field) = table.get("exclusive_cpus") else { return (needs, false) };
    let exclusive = field.truth(problems).unwrap_or_default();
    if exclusive && !needs.cpus.thousandths().is_multiple_of(1000) {
        let (path, cpus) = (field.path(), needs.cpus);
        problems.add(
            field.span(),
            format!("{path} wants whole cores, and cpus is {cpus}; write a whole number of them"),
        );
    }
    (needs, exclusive)
}

/// What an instance may use besides what it needs.
fn limits(
    file: &Fields,
    needs: &Needs,
    problems: &mut Problems,
) -> (BTreeMap<Name, Option<Milli>>, Controls) {
    let (mut limits, mut controls) = (BTreeMap::new(), Controls::default());
    let Some(table) = file.table("limits", problems) else { return (limits, controls) };
    // A limit below what is needed would be refused at every launch.
    if let Some(field) = table.get("cpus") {
        let limit = limit(&field, |field| field.number(problems, needs.cpus, CPUS_MAX));
        limits.extend(limit.map(|limit| (Name::cpus(), limit)));
    }
    if let Some(field) = table.get("mem") {
        let limit = limit(&field, |field| field.size(problems, needs.mem, MEM_MAX));
        limits.extend(limit.map(|limit| (Name::mem(), limit)));
    }
    if let Some(field) = table.get("cpu_burst") {
        controls.cpu_burst = field.number(problems, Milli::ZERO, CPUS_MAX).unwrap_or_default();
    }
    if let Some(field) = table.get("swap") {
        controls.swap = field.size(problems, Milli::ZERO, MEM_MAX).unwrap_or_default();
    }
    let mut whole = |key, least: u32, most: u32| {
        let field = table.get(key)?;
        field.whole(problems, least..=most).map(u64::from)
    };
    controls.pids = whole("pids", 1, PIDS_MAX).and_then(|number| Pids::new(number).ok());
    let weight = whole("io_weight", 1, IO_WEIGHT_MAX.into());
    controls.io_weight = weight.and_then(|weight| IoWeight::new(weight).ok());
    let score = whole("oom_score", 0, OOM_SCORE_MAX.into());
    controls.oom_score = score.and_then(|score| OomScore::new(score).ok()).unwrap_or_default();
    if let Some(field) = table.get("huge_pages") {
        huge_pages(&field, &mut controls, problems);
    }
    (limits, controls)
}

/// A limit as it is read, or none where it is said to be none.
fn limit(field: &Field, read: impl FnOnce(&Field) -> Option<Milli>) -> Option<Option<Milli>> {
    match field.value.as_str() {
        Some(UNLIMITED) => Some(None),
        _ => read(field).map(Some),
    }
}

fn huge_pages(field: &Field, controls: &mut Controls, problems: &mut Problems) {
    let DeValue::Array(items) = field.value else {
        field.wrong(problems, "an array of sizes and amounts, such as [\"2MiB=64MiB\"]");
        return;
    };
    for item in items.iter() {
        match item.get_ref() {
            DeValue::String(text) => {
                let read = parse_huge_pages(text);
                let added = read.and_then(|(size, amount)| controls.add_huge_pages(size, amount));
                if let Err(bad) = added {
                    problems.add(item.span(), format!("{}: {bad}", field.path()));
                }
            }
            other => {
                let (path, kind) = (field.path(), kind_of(other));
                problems.add(item.span(), format!("{path} holds {kind}; every size must be in quotes"));
            }
        }
    }
}

fn rootfs(field: &Field, problems: &mut Problems) -> Option<Rootfs> {
    let text = field.text(problems, "a path of the agent's machine, such as \"/srv/images/web\"")?;
    Rootfs::new(text).map_err(|bad| problems.add(field.span(), format!("rootfs: {bad}"))).ok()
}

fn volumes(field: &Field, problems: &mut Problems) -> Vec<Volume> {
    let DeValue::Array(items) = field.value else {
        field.wrong(problems, "an array of texts such as \"/srv/data:/data\" or \"/etc/web:/etc/web:ro\"");
        return Vec::new();
    };
    let mut volumes = Vec::with_capacity(items.len());
    for item in items.iter() {
        match item.get_ref() {
            DeValue::String(text) => match text.parse::<Volume>() {
                Ok(volume) => volumes.push(volume),
                Err(bad) => problems.add(item.span(), format!("{}: {bad}", field.path())),
            },
            other => {
                let (path, kind) = (field.path(), kind_of(other));
                problems.add(item.span(), format!("{path} holds {kind}; every volume must be in quotes"));
            }
        }
    }
    if let Err(bad) = Volume::check_all(&volumes) {
        problems.add(field.span(), format!("{}: {bad}", field.path()));
    }
    volumes
}

fn namespaces(file: &Fields, problems: &mut Problems) -> Namespaces {
    let network = file.get("network").and_then(|field| {
        let text = field.text(problems, "\"host\" or \"none\"")?;
        let read = text.parse::<Network>();
        read.map_err(|bad| problems.add(field.span(), format!("network: {bad}"))).ok()
    });
    let users = file
        .get("own_users")
        .and_then(|field| field.truth(problems).map(|own| if own { Users::Own } else { Users::Machine }));
    Namespaces { network: network.unwrap_or_default(), users: users.unwrap_or_default() }
}

/// A health check that asks over the network does not reach an instance with a network of its own.
fn asked_where_it_is(file: &Fields, network: Network, health: Option<&Health>, problems: &mut Problems) {
    let asks = health.is_some_and(|health| match health.probe {
        Probe::Http { .. } | Probe::Tcp { .. } => true,
        Probe::Command(_) => false,
    });
    if let Some(field) = file.get("network").filter(|_| asks && network == Network::Loopback) {
        problems.add(
            field.span(),
            "an instance with a network of its own is not reached by http and tcp of [health]; ask with command there, \
             which runs inside",
        );
    }
}

fn ports(field: &Field, problems: &mut Problems) -> Vec<Option<PortName>> {
    match field.value {
        DeValue::Integer(_) => {
            let most = PORTS_MAX as u32;
            vec![None; field.whole(problems, 0..=most).unwrap_or(0) as usize]
        }
        DeValue::Array(items) if items.len() > PORTS_MAX => {
            problems
                .add(field.span(), format!("{} ports are too many; the most is {PORTS_MAX}", items.len()));
            Vec::new()
        }
        DeValue::Array(items) => {
            let mut ports: Vec<Option<PortName>> = Vec::with_capacity(items.len());
            for item in items.iter() {
                let name = item.get_ref().as_str().and_then(PortName::new);
                let taken = ports
                    .iter()
                    .flatten()
                    .find(|port| name.as_ref().is_some_and(|n| n.variable() == port.variable()));
                match (&name, taken) {
                    (None, _) => problems.add(
                        item.span(),
                        format!(
                            "ports holds {}; a port is a name such as \"http\": 1 to 31 of a-z, 0-9, '-' and '_', \
                             first a letter. Its number comes from the offer, in PORT_HTTP",
                            kind_of(item.get_ref())
                        ),
                    ),
                    (Some(name), Some(taken)) => problems.add(
                        item.span(),
                        format!("{name:?} and {taken:?} would both be {}; rename one", taken.variable()),
                    ),
                    (Some(_), None) => {}
                }
                ports.push(name);
            }
            ports
        }
        _ => {
            field.wrong(problems, "a count, or the names of the ports: [\"http\", \"admin\"]");
            Vec::new()
        }
    }
}

fn env(file: &Fields, ports: &[Option<PortName>], problems: &mut Problems) -> BTreeMap<String, String> {
    let Some(field) = file.get("env") else { return BTreeMap::new() };
    let DeValue::Table(table) = field.value else {
        field.wrong(problems, "a table: write variables below a line [env]");
        return BTreeMap::new();
    };
    let mut env = BTreeMap::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let text = match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            // A process only knows text: what was written is what it gets.
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            other @ (DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
                problems.add(value.span(), format!("env.{name} is {}; write it in quotes", kind_of(other)));
                continue;
            }
        };
        if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
            problems
                .add(key.span(), format!("env.{name:?} cannot be set: an empty name, an '=' or a NUL byte"));
        } else if is_ours(name, ports) {
            problems.add(key.span(), format!("{name} is set by Bourse; rename yours"));
        } else {
            env.insert(name.to_owned(), text);
        }
    }
    env
}

/// Whether a variable of this name is set for every instance.
fn is_ours(name: &str, ports: &[Option<PortName>]) -> bool {
    let numbered = name
        .strip_prefix("PORT")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty());
    numbered
        || name == "PORTS"
        || name.starts_with("BOURSE_")
        || name.starts_with("MESOS_")
        || ports.iter().flatten().any(|port| port.variable() == name)
}

fn user(field: &Field, problems: &mut Problems) -> Option<String> {
    let text = field.text(problems, "the name of a user, such as \"www-data\"")?;
    let right = (1..=32).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !right {
        field.wrong(problems, "the name of a user, such as \"www-data\"");
    }
    right.then(|| text.to_owned())
}

fn role(field: &Field, problems: &mut Problems) -> Option<Role> {
    let text = field.text(problems, "a role, such as \"web/frontend\"")?;
    Role::new(text).map_err(|bad| problems.add(field.span(), format!("role: {bad}"))).ok()
}

fn health(file: &Fields, ports: &[Option<PortName>], problems: &mut Problems) -> Option<Health> {
    let table = file.table("health", problems)?;
    let probe = probe(&table, ports, problems);
    let interval = table.get("interval").and_then(|field| field.duration(problems, TENTH, HOUR));
    let timeout = table.get("timeout").and_then(|field| field.duration(problems, TENTH, HOUR));
    let grace = table.get("grace").and_then(|field| field.duration(problems, Duration::ZERO, DAY));
    let failures = table.get("failures").and_then(|field| field.whole(problems, 1..=1000));
    Some(Health {
        probe: probe?,
        interval: interval.unwrap_or(5 * SECOND),
        timeout: timeout.unwrap_or(5 * SECOND),
        grace: grace.unwrap_or(30 * SECOND),
        failures: failures.unwrap_or(3),
    })
}

fn probe(table: &Fields, ports: &[Option<PortName>], problems: &mut Problems) -> Option<Probe> {
    let (http, tcp, run) = (table.get("http"), table.get("tcp"), table.get("command"));
    let port = table.get("port");
    match (http, tcp, run) {
        (Some(field), None, None) => {
            let path = field.text(problems, "a path such as \"/\"")?;
            if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
                field.wrong(problems, "a path such as \"/health\", with its slash and without spaces");
                return None;
            }
            Some(Probe::Http { path: path.to_owned(), port: port_of(port, &field, ports, problems)? })
        }
        (None, Some(field), None) => {
            if field.value.as_bool() != Some(true) {
                field.wrong(problems, "true; choose the port with port = \"name\"");
                return None;
            }
            Some(Probe::Tcp { port: port_of(port, &field, ports, problems)? })
        }
        (None, None, Some(field)) => {
            if let Some(port) = port {
                problems.add(port.span(), "a health command has no port; read PORT0 in the command instead");
            }
            command(&field, problems).map(Probe::Command)
        }
        (None, None, None) => {
            problems.add(
                table.span(),
                "[health] asks nothing; write http = \"/\", tcp = true or command = \"...\"",
            );
            None
        }
        (http, tcp, run) => {
            let last = [http, tcp, run].into_iter().flatten().max_by_key(|field| field.span().start);
            let span = last.map_or(table.span(), |field| field.span());
            problems.add(span, "[health] asks in more than one way; keep one of http, tcp and command");
            None
        }
    }
}

/// The index of the port a health check asks: the one named or numbered, else the first.
fn port_of(
    port: Option<Field>,
    asked: &Field,
    ports: &[Option<PortName>],
    problems: &mut Problems,
) -> Option<usize> {
    if ports.is_empty() {
        problems.add(
            asked.span(),
            "the health check needs a port, and the service has none; add ports = [\"http\"]",
        );
        return None;
    }
    let Some(field) = port else { return Some(0) };
    let known: Vec<&str> = ports.iter().flatten().map(PortName::as_str).collect();
    let found = match field.value {
        DeValue::String(name) => {
            ports.iter().position(|port| port.as_ref().is_some_and(|port| port.as_str() == name))
        }
        DeValue::Integer(number) => number.as_str().parse().ok().filter(|&index: &usize| index < ports.len()),
        _ => None,
    };
    if found.is_none() {
        let names =
            if known.is_empty() { String::new() } else { format!(", or one of {}", known.join(", ")) };
        field.wrong(problems, &format!("a number from 0 to {}{names}", ports.len() - 1));
    }
    found
}

fn restart(file: &Fields, problems: &mut Problems) -> Backoff {
    let mut backoff = Backoff { start: SECOND, factor: Milli::whole(2), max: MINUTE, reset_after: MINUTE };
    let Some(table) = file.table("restart", problems) else { return backoff };
    if let Some(field) = table.get("start") {
        backoff.start = field.duration(problems, TENTH, HOUR).unwrap_or(backoff.start);
    }
    if let Some(field) = table.get("factor") {
        backoff.factor = field.number(problems, Milli::whole(1), Milli::whole(10)).unwrap_or(backoff.factor);
    }
    if let Some(field) = table.get("reset_after") {
        backoff.reset_after = field.duration(problems, Duration::ZERO, DAY).unwrap_or(backoff.reset_after);
    }
    match table.get("max") {
        Some(field) => {
            backoff.max = field.duration(problems, TENTH, DAY).unwrap_or(DAY);
            if backoff.max < backoff.start {
                field.wrong(problems, "at least restart.start");
            }
        }
        None => backoff.max = backoff.max.max(backoff.start),
    }
    backoff
}

fn spread(file: &Fields, problems: &mut Problems) -> Spread {
    let limit = file.get("max_per_agent");
    let max_per_agent = limit.and_then(|field| field.whole(problems, 1..=COUNT_MAX));
    let field = file.get("spread");
    match field.map(|field| (field, field.value.as_str())) {
        None | Some((_, Some("agents"))) => Spread::Agents { max_per_agent },
        Some((_, Some("none"))) => {
            if let Some(limit) = limit {
                problems.add(limit.span(), "max_per_agent needs spread = \"agents\"; remove one of the two");
            }
            Spread::None
        }
        Some((field, _)) => {
            field.wrong(problems, "\"agents\" or \"none\"");
            Spread::Agents { max_per_agent }
        }
    }
}
