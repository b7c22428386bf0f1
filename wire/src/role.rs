//! Lists of roles, as SUBSCRIBE, REVIVE and SUPPRESS carry them.

use bourse_types::{BadRole, Role};

use crate::at::{At, Place};

/// The roles in the field `name`, in their order. Refuses the first that is no role.
pub fn read_list<O: From<BadRole>>(name: &str, roles: &[String]) -> Result<Vec<Role>, At<O>> {
    roles.iter().enumerate().map(|(at, role)| Role::new(role).at(format_args!("{name}[{at}]"))).collect()
}

/// The roles as texts.
pub fn write_list<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Vec<String> {
    roles.into_iter().map(|role| role.as_str().to_owned()).collect()
}
