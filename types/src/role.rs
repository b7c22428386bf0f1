//! Roles: whose share of the cluster an offer, a reservation or a quota counts against.
//!
//! Role names are paths: `eng/web` is within `eng`, and shares what `eng` was given. The role `*` is
//! everybody's: unreserved resources belong to it, and it is nobody's ancestor. Names follow Mesos' rules.
//! Which role a framework may use, and what a role gets, is left to the master.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// The longest role name in bytes. Mesos knows no bound; this one keeps trees of roles shallow enough to
/// walk.
pub const MAX_ROLE_BYTES: usize = 1024;

/// A role name that kept the rules.
///
/// Ordered as text: `eng` comes before `eng/web`, but other roles (`eng-x`) may sort between the two, so a
/// subtree is asked for with [`Role::is_within`] and not cut out of a sorted list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(Arc<str>);

/// A text that cannot be a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {given:?} {wrong}; write it as eng or eng/web")]
pub struct BadRole {
    /// What was given, cut to 64 characters.
    pub given: String,
    /// What is wrong with it.
    pub wrong: WrongRole,
}

/// The rule that a role name broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongRole {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// More than [`MAX_ROLE_BYTES`].
    #[error("is {0} bytes long and 1024 are allowed")]
    TooLong(usize),
    /// A slash at the beginning or end, or two together.
    #[error("has an empty level: a '/' at its start, its end, or twice in a row")]
    EmptyLevel,
    /// `.`, `..` or `*` as a level.
    #[error("has a level named '.', '..' or '*', which are taken")]
    TakenLevel,
    /// A level that reads like a flag.
    #[error("has a level that starts with '-'")]
    LeadingDash,
    /// White space, a control character or a backslash.
    #[error("holds white space, a control character or a backslash")]
    Character,
}

static ANY: LazyLock<Role> = LazyLock::new(|| Role("*".into()));

impl Role {
    /// Checks the name and keeps it.
    pub fn new(name: impl AsRef<str>) -> Result<Role, BadRole> {
        let name = name.as_ref();
        match check(name) {
            Ok(()) => Ok(Role(name.into())),
            Err(wrong) => Err(BadRole { given: crate::ids::shown(name), wrong }),
        }
    }

    /// The role of everybody, `*`.
    pub fn any() -> Role {
        ANY.clone()
    }

    /// Whether this is the role of everybody.
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role one level up; `None` for a top-level role and for `*`.
    pub fn parent(&self) -> Option<Role> {
        self.0.rsplit_once('/').map(|(parent, _)| Role(parent.into()))
    }

    /// All roles above, nearest first, without the role itself.
    pub fn ancestors(&self) -> impl Iterator<Item = Role> + use<> {
        std::iter::successors(self.parent(), Role::parent)
    }

    /// Whether this role is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Role) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The number of levels: 1 for `eng`, 2 for `eng/web`, 1 for `*`.
    pub fn depth(&self) -> usize {
        self.0.split('/').count()
    }
}

/// The role of everybody: what a framework that names no role gets, as in Mesos.
impl Default for Role {
    fn default() -> Role {
        Role::any()
    }
}

fn check(name: &str) -> Result<(), WrongRole> {
    if name == "*" {
        return Ok(());
    }
    if name.is_empty() {
        return Err(WrongRole::Empty);
    }
    if name.len() > MAX_ROLE_BYTES {
        return Err(WrongRole::TooLong(name.len()));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(WrongRole::Character);
    }
    for level in name.split('/') {
        match level {
            "" => return Err(WrongRole::EmptyLevel),
            "." | ".." | "*" => return Err(WrongRole::TakenLevel),
            dashed if dashed.starts_with('-') => return Err(WrongRole::LeadingDash),
            _ => {}
        }
    }
    Ok(())
}

impl FromStr for Role {
    type Err = BadRole;
    fn from_str(name: &str) -> Result<Role, BadRole> {
        Role::new(name)
    }
}

impl AsRef<str> for Role {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role(name: &str) -> Role {
        Role::new(name).expect("a role in the test")
    }

    #[test]
    fn names_that_mesos_refuses_are_refused() {
        for (name, wrong) in [
            ("", WrongRole::Empty),
            (".", WrongRole::TakenLevel),
            ("..", WrongRole::TakenLevel),
            ("eng/*", WrongRole::TakenLevel),
            ("*/eng", WrongRole::TakenLevel),
            ("-eng", WrongRole::LeadingDash),
            ("eng/-web", WrongRole::LeadingDash),
            ("/eng", WrongRole::EmptyLevel),
            ("eng/", WrongRole::EmptyLevel),
            ("eng//web", WrongRole::EmptyLevel),
            ("e ng", WrongRole::Character),
            ("e\tng", WrongRole::Character),
            ("e\\ng", WrongRole::Character),
        ] {
            assert_eq!(Role::new(name).expect_err(name).wrong, wrong, "{name:?}");
        }
        for name in ["*", "eng", "a.b", "a-b", "...", "eng/web/eu-1", "**"] {
            assert_eq!(role(name).as_str(), name);
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        assert_eq!(
            Role::new("/eng").expect_err("refused").to_string(),
            "role \"/eng\" has an empty level: a '/' at its start, its end, or twice in a row; \
             write it as eng or eng/web"
        );
    }

    #[test]
    fn a_role_with_a_longer_name_is_not_within_the_shorter_one() {
        assert!(role("eng/web").is_within(&role("eng")));
        assert!(!role("engine").is_within(&role("eng")));
        assert!(!role("eng").is_within(&role("eng/web")));
    }

    #[test]
    fn the_role_of_everybody_is_nobodys_ancestor() {
        assert!(!role("eng").is_within(&Role::any()));
        assert!(Role::any().is_within(&Role::any()));
        assert_eq!(Role::any().parent(), None);
    }

    proptest! {
        #[test]
        fn a_role_is_within_itself_and_all_its_ancestors_and_is_deeper(
            levels in proptest::collection::vec("[a-z]{1,3}", 1..6),
        ) {
            let role = role(&levels.join("/"));
            prop_assert_eq!(role.depth(), levels.len());
            prop_assert!(role.is_within(&role));
            let ancestors: Vec<Role> = role.ancestors().collect();
            prop_assert_eq!(ancestors.len(), levels.len() - 1);
            for (above, ancestor) in ancestors.iter().enumerate() {
                prop_assert!(role.is_within(ancestor));
                prop_assert!(!ancestor.is_within(&role));
                prop_assert_eq!(ancestor.depth(), role.depth() - 1 - above);
            }
        }

        #[test]
        fn being_within_means_being_itself_or_below(left in "[ab](/[ab]){0,3}", right in "[ab](/[ab]){0,3}") {
            let (left, right) = (role(&left), role(&right));
            prop_assert_eq!(left.is_within(&right), left == right || left.ancestors().any(|a| a == right));
        }

        #[test]
        fn what_is_accepted_comes_back_unchanged_and_has_a_valid_parent(name in "[-a*./ ]{0,8}") {
            if let Ok(role) = Role::new(&name) {
                prop_assert_eq!(role.as_str(), &name);
                if let Some(parent) = role.parent() {
                    prop_assert_eq!(Role::new(parent.as_str()).expect("valid"), parent);
                }
            }
        }
    }
}
