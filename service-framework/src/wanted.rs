//! What people want: the definitions of all services, and the three things that change them.
//!
//! Deploy, scale and remove only write down what is wanted; making it so is the planner's. A repeat of any of them
//! changes nothing. The text of a definition is kept as it was written, comments and all.

use std::collections::BTreeMap;

use bourse_types::Role;

use crate::spec::{self, BadSpec, COUNT_MAX, ServiceName, ServiceSpec};

/// Services of one framework; a bound for the state file and for one pass of the planner.
pub const SERVICES_MAX: usize = 1_000;
/// Instances wanted over all services, for the same reason.
pub const INSTANCES_MAX: u64 = 50_000;

/// Everything that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The framework's roles; never empty. A service that names none takes offers of the first.
    pub roles: Vec<Role>,
    /// By name.
    pub services: BTreeMap<ServiceName, Definition>,
}

/// One service as it is wanted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The text as written.
    pub text: String,
    /// The name of its file, for messages.
    pub file: String,
    /// What the text says.
    pub spec: ServiceSpec,
    /// Instances wanted: of the file, or what it was scaled to.
    pub count: u32,
    /// Grows by one with every change.
    pub version: u64,
    /// The version that last changed what a task is made of: instances of an earlier one are replaced.
    pub template_version: u64,
    /// The same, or the later version that last changed amounts and limits only: instances of an earlier one are resized.
    pub size_version: u64,
    /// Its instances are being killed; then it is forgotten.
    pub removing: bool,
}

/// What a deployment changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no such service.
    Created,
    /// There was another definition, or another count.
    Updated,
    /// All of it was wanted already.
    Unchanged,
}

impl Outcome {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file is wrong.
    #[error(transparent)]
    Spec(#[from] BadSpec),
    /// No service has this name.
    #[error("there is no service {0:?}; the services are: {1}")]
    NoSuchService(String, String),
    /// Several services begin so.
    #[error("{0:?} could be any of these services: {1}; give more of it")]
    Ambiguous(String, String),
    /// A count out of range.
    #[error("count {0} is too large; the most is {COUNT_MAX}")]
    Count(u32),
    /// More than the framework takes on.
    #[error("{0} services are the most that one framework takes; remove one, or start another framework")]
    Services(usize),
    /// More than the framework takes on.
    #[error("{0} instances would be wanted; the most over all services of one framework is {INSTANCES_MAX}")]
    Instances(u64),
    /// The framework does not hold the role.
    #[error(
        "service {service} wants role {role}, and this framework holds {held}; start it with --role {role}"
    )]
    Role {
        /// The service.
        service: ServiceName,
        /// What it wants.
        role: Role,
        /// What there is.
        held: String,
    },
    /// The service is on its way out.
    #[error("service {0} is being removed; deploy it again to keep it")]
    Removing(ServiceName),
}

impl Wanted {
    /// Nothing, by a framework that holds these roles; with none of them, the role `*`.
    pub fn new(roles: Vec<Role>) -> Wanted {
        let roles = if roles.is_empty() { vec![Role::any()] } else { roles };
        Wanted { roles, services: BTreeMap::new() }
    }

    /// Makes a service file what is wanted.
    ///
    /// A count written in the file wins over an earlier scale; a file without one leaves the scale as it is. A
    /// service that is being removed is wanted again.
    pub fn deploy(&mut self, text: &str, file: &str) -> Result<(ServiceName, Outcome), Refusal> {
        let spec = spec::parse(text, file)?;
        let name = spec.name.clone();
        if let Some(role) = spec.template.role.as_ref().filter(|role| !self.roles.contains(role)) {
            let held = self.roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ");
            return Err(Refusal::Role { service: name, role: role.clone(), held });
        }
        let old = self.services.get(&name);
        if old.is_none() && self.services.len() >= SERVICES_MAX {
            return Err(Refusal::Services(SERVICES_MAX));
        }
        let kept = old.filter(|old| !old.removing).map(|old| old.count);
        let count = spec.count.or(kept).unwrap_or(1);
        self.check_total(&name, count)?;
        let version = old.map_or(1, |old| old.version + 1);
        let (template_version, size_version, outcome) = match old {
            None => (version, version, Outcome::Created),
            Some(old) if old.removing => (version, version, Outcome::Created),
            Some(old) if old.text == text && old.count == count => return Ok((name, Outcome::Unchanged)),
            Some(old) if old.spec.template == spec.template => {
                (old.template_version, old.size_version, Outcome::Updated)
            }
            Some(old) if spec.template.is_resized(&old.spec.template) => {
                (old.template_version, version, Outcome::Updated)
            }
            Some(_) => (version, version, Outcome::Updated),
        };
        let (text, file) = (text.to_owned(), file.to_owned());
        let removing = false;
        let definition =
            Definition { text, file, spec, count, version, template_version, size_version, removing };
        self.services.insert(name.clone(), definition);
        Ok((name, outcome))
    }

    /// Wants this many instances of a service, 0 to [`COUNT_MAX`].
    pub fn scale(&mut self, name: &str, count: u32) -> Result<ServiceName, Refusal> {
        if count > COUNT_MAX {
            return Err(Refusal::Count(count));
        }
        let name = self.named(name)?;
        self.check_total(&name, count)?;
        let Some(definition) = self.services.get_mut(&name) else { return Ok(name) };
        if definition.removing {
            return Err(Refusal::Removing(name));
        }
        if definition.count != count {
            definition.count = count;
            definition.version += 1;
        }
        Ok(name)
    }

    /// Wants a service no more. Its instances are killed first; until then it is shown as being removed. As nothing
    /// brings them back, it must be named as a whole.
    pub fn remove(&mut self, name: &str) -> Result<ServiceName, Refusal> {
        let name = self.whole(name).ok_or_else(|| self.missing(name))?;
        if let Some(definition) = self.services.get_mut(&name) {
            definition.removing = true;
        }
        Ok(name)
    }

    /// The service that a text names: by its name, or by a beginning that no other has.
    pub fn named(&self, text: &str) -> Result<ServiceName, Refusal> {
        if let Some(name) = self.whole(text) {
            return Ok(name);
        }
        let begins = |name: &&ServiceName| !text.is_empty() && name.as_str().starts_with(text);
        let found: Vec<&ServiceName> = self.services.keys().filter(begins).collect();
        match found[..] {
            [] => Err(self.missing(text)),
            [name] => Ok(name.clone()),
            [..] => Err(Refusal::Ambiguous(text.to_owned(), listed(found.into_iter()))),
        }
    }

    fn whole(&self, text: &str) -> Option<ServiceName> {
        ServiceName::new(text).ok().filter(|name| self.services.contains_key(name))
    }

    fn missing(&self, text: &str) -> Refusal {
        let known = match self.services.is_empty() {
            true => "none yet".to_owned(),
            false => listed(self.services.keys()),
        };
        Refusal::NoSuchService(text.chars().take(64).collect(), known)
    }

    /// The role whose offers a service takes.
    pub fn role_of<'a>(&'a self, definition: &'a Definition) -> &'a Role {
        definition.spec.template.role.as_ref().unwrap_or(&self.roles[0])
    }

    fn check_total(&self, name: &ServiceName, count: u32) -> Result<(), Refusal> {
        let others = self.services.iter().filter(|(other, _)| *other != name);
        let total = others.map(|(_, definition)| u64::from(definition.count)).sum::<u64>() + u64::from(count);
        if total > INSTANCES_MAX { Err(Refusal::Instances(total)) } else { Ok(()) }
    }
}

/// Names for a sentence; not more of them than somebody reads.
fn listed<'a>(names: impl Iterator<Item = &'a ServiceName>) -> String {
    const SHOWN: usize = 20;
    let mut names = names.map(ServiceName::as_str);
    let mut shown: Vec<&str> = names.by_ref().take(SHOWN).collect();
    shown.extend(names.next().map(|_| "..."));
    shown.join(", ")
}

impl Definition {
    /// Instances wanted now: none while it is being removed.
    pub fn wanted(&self) -> u32 {
        if self.removing { 0 } else { self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted::new(vec![])
    }

    fn file(more: &str) -> String {
        format!("name = \"web\"\ncommand = \"true\"\n{more}")
    }

    fn web(wanted: &Wanted) -> &Definition {
        wanted.services.values().next().expect("deployed")
    }

    #[test]
    fn the_same_text_again_changes_nothing() {
        let mut wanted = wanted();
        let deployed = wanted.deploy(&file(""), "web.toml").map(|(_, outcome)| outcome);
        assert_eq!(deployed, Ok(Outcome::Created));
        let before = wanted.clone();
        let again = wanted.deploy(&file(""), "web.toml").map(|(_, outcome)| outcome);
        assert_eq!(again, Ok(Outcome::Unchanged));
        assert_eq!(wanted, before);
    }

    #[test]
    fn a_change_of_the_count_or_of_a_comment_does_not_replace_the_instances() {
        let mut wanted = wanted();
        wanted.deploy(&file(""), "").expect("right");
        wanted.deploy(&file("count = 3 # three"), "").expect("right");
        assert_eq!((web(&wanted).version, web(&wanted).template_version, web(&wanted).count), (2, 1, 3));
        wanted.deploy(&file("count = 3\nports = 1"), "").expect("right");
        assert_eq!((web(&wanted).version, web(&wanted).template_version), (3, 3));
    }

    #[test]
    fn a_change_of_amounts_and_limits_only_resizes_the_instances() {
        let mut wanted = wanted();
        let mut versions = |more: &str| {
            wanted.deploy(&file(more), "").expect("right");
            (web(&wanted).template_version, web(&wanted).size_version)
        };
        assert_eq!(versions(""), (1, 1));
        assert_eq!(versions("[resources]\nmem = \"256MiB\"\ndisk = \"1GiB\""), (1, 2));
        assert_eq!(versions("[resources]\nmem = \"256MiB\"\ndisk = \"1GiB\"\n[limits]\ncpus = 2"), (1, 3));
        assert_eq!(versions("[resources]\nmem = \"256MiB\"\ndisk = \"1GiB\"\n[limits]\npids = 9"), (4, 4));
        assert_eq!(
            versions("[resources]\nmem = \"256MiB\"\n[limits]\npids = 9"),
            (5, 5),
            "its disk has no limit"
        );
        assert_eq!(versions("[resources]\ncpus = 1\nexclusive_cpus = true"), (6, 6));
        assert_eq!(
            versions("[resources]\ncpus = 2\nexclusive_cpus = true"),
            (7, 7),
            "its cores stay its own"
        );
        assert_eq!(versions("[resources]\ncpus = 2\nmem = \"1GiB\"\nexclusive_cpus = true"), (7, 8));
        assert_eq!(versions("user = \"www\"\n[resources]\ncpus = 2\nexclusive_cpus = true"), (9, 9));
    }

    #[test]
    fn a_count_in_the_file_wins_over_a_scale_and_its_absence_keeps_it() {
        let mut wanted = wanted();
        wanted.deploy(&file(""), "").expect("right");
        wanted.scale("web", 5).expect("it is there");
        wanted.deploy(&file("# a comment"), "").expect("right");
        assert_eq!(web(&wanted).count, 5);
        wanted.deploy(&file("count = 2"), "").expect("right");
        assert_eq!(web(&wanted).count, 2);
        wanted.scale("web", 4).expect("it is there");
        let back = wanted.deploy(&file("count = 2"), "").map(|(_, outcome)| outcome);
        assert_eq!((back, web(&wanted).count), (Ok(Outcome::Updated), 2));
    }

    #[test]
    fn a_service_that_is_being_removed_is_wanted_again_when_it_is_deployed() {
        let mut wanted = wanted();
        wanted.deploy(&file("count = 2"), "").expect("right");
        wanted.remove("web").expect("it is there");
        assert_eq!(web(&wanted).wanted(), 0);
        assert!(matches!(wanted.scale("web", 3), Err(Refusal::Removing(_))));
        let again = wanted.deploy(&file("count = 2"), "").map(|(_, outcome)| outcome);
        assert_eq!(again, Ok(Outcome::Created));
        assert_eq!((web(&wanted).wanted(), web(&wanted).template_version), (2, 2));
    }

    #[test]
    fn a_service_is_named_by_a_beginning_that_no_other_has_but_removed_by_its_whole_name() {
        let mut wanted = wanted();
        for name in ["web", "web-admin", "worker"] {
            wanted.deploy(&file("").replace("web", name), "").expect("right");
        }
        let named = |text: &str| wanted.named(text).map(|name| name.as_str().to_owned());
        assert_eq!(named("wo"), Ok("worker".to_owned()));
        assert_eq!(named("web"), Ok("web".to_owned()), "the whole name is no beginning");
        assert_eq!(
            named("w").expect_err("three begin so").to_string(),
            r#""w" could be any of these services: web, web-admin, worker; give more of it"#
        );
        assert!(matches!(named(""), Err(Refusal::NoSuchService(..))));
        assert!(matches!(wanted.remove("wo"), Err(Refusal::NoSuchService(..))));
    }

    #[test]
    fn what_is_refused_says_what_there_is() {
        let mut wanted = wanted();
        assert_eq!(
            wanted.scale("web", 1).expect_err("none").to_string(),
            r#"there is no service "web"; the services are: none yet"#
        );
        wanted.deploy(&file(""), "").expect("right");
        assert_eq!(
            wanted.remove("wbe").expect_err("none").to_string(),
            r#"there is no service "wbe"; the services are: web"#
        );
        assert_eq!(wanted.scale("web", 10_001), Err(Refusal::Count(10_001)));
        assert_eq!(
            wanted.deploy(&file("role = \"b\""), "").expect_err("another role").to_string(),
            "service web wants role b, and this framework holds *; start it with --role b"
        );
    }
}
