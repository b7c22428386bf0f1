//! What systemd has to say about control groups, where it owns them.
//!
//! It owns all groups but those that it has delegated: elsewhere it may set, empty and remove what others have made
//! (systemd.io/CGROUP_DELEGATION, "Three Different Tree Setups"). So on version 2 an agent makes its groups in that of its
//! own unit, if the unit has `Delegate=`, and says so if not; on version 1 it always says so.

use std::path::Path;

/// What it makes first, in every tree that it owns.
const OWN: [&str; 2] = ["init.scope", "system.slice"];

/// How it marks a group that it has delegated; the first can be read by root alone (systemd.io/CGROUP_DELEGATION).
const MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// Whether it owns the tree with this top.
pub fn owns(top: &Path) -> bool {
    OWN.iter().all(|name| top.join(name).is_dir())
}

/// The group of the unit that a group belongs to: the innermost service or scope on the way, as processes belong to no other
/// kind. What lies below it was made by the unit itself, or by systemd for it (`DelegateSubgroup=`).
pub fn unit(group: &Path) -> Option<&Path> {
    group.ancestors().find(|path| path.extension().is_some_and(|kind| kind == "service" || kind == "scope"))
}

/// The group of a user's own systemd, if this one is below it. All of that is the user's, by `user@.service`.
pub fn of_user(group: &Path) -> Option<&Path> {
    group.ancestors().find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("user@") && name.ends_with(".service")
    })
}

/// Whether it has marked a group as delegated.
pub fn is_delegated(group: &Path) -> bool {
    MARKS.iter().any(|mark| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(group, *mark, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    })
}

/// That a unit is not delegated, and what to do, in a sentence.
pub fn not_delegated(unit: &Path) -> String {
    let unit = unit.file_name().unwrap_or_default().display();
    format!(
        "systemd has not delegated the control groups of {unit} to the agent, so it may change or remove those of tasks; add \
         Delegate=yes to the [Service] section of the unit, or start the agent by `systemd-run --scope --property=Delegate=yes`"
    )
}

/// That control groups of version 1 are made where nobody has delegated any, and what to do, in a sentence.
pub fn at_top_of_version_1() -> String {
    "systemd owns the control groups of this machine, and on version 1 those of tasks are made at their top, where it may \
     change or remove them; boot with systemd.unified_cgroup_hierarchy=1, and add Delegate=yes to the [Service] section of \
     the agent's unit, to have them where it does not"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_group_is_the_innermost_service_or_scope() {
        for (group, found) in [
            ("/system.slice/bourse-agent.service", Some("/system.slice/bourse-agent.service")),
            ("/system.slice/bourse-agent.service/bourse-host", Some("/system.slice/bourse-agent.service")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope",
                Some("/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope"),
            ),
            ("/user.slice", None),
            ("/", None),
        ] {
            assert_eq!(unit(Path::new(group)), found.map(Path::new), "{group}");
        }
        let user = Path::new("/user.slice/user-1000.slice/user@1000.service");
        assert_eq!(of_user(&user.join("app.slice/run-1.scope")), Some(user));
        assert_eq!(of_user(Path::new("/system.slice/user@home.slice")), None);
    }

    #[test]
    fn a_tree_is_systemds_if_it_has_both_groups_that_it_makes_first() {
        let top = tempfile::TempDir::new().expect("a temporary directory");
        let make = |name: &str| std::fs::create_dir(top.path().join(name)).expect("it is writable");
        make("system.slice");
        assert!(!owns(top.path()));
        make("init.scope");
        assert!(owns(top.path()));
        assert!(!is_delegated(top.path()));
    }
}
