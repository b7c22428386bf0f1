//! Commands and their environment.

use bourse_proto::v1::{self, CommandInfo, environment::Variable, environment::variable};
use bourse_types::Command;

use crate::at::{At, Missing, Place, Under, needed};

/// A command that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A command that nothing can run.
    #[error(transparent)]
    Command(#[from] bourse_types::BadCommand),
    /// Files to fetch.
    #[error("this release does not fetch files; leave uris out and let the command fetch what it needs")]
    Uris,
    /// A variable that is a secret.
    #[error("this release has no secrets in the environment; send the variable by value")]
    Secret,
    /// A variable of a type that this release does not know.
    #[error("{0} is not a type of variable that this release knows; send 1 (VALUE)")]
    VariableType(i32),
}

/// Reads a command; refuses what no process can be given, files to fetch and secrets.
pub fn read(form: &CommandInfo) -> Result<Command, At<BadCommand>> {
    if !form.uris.is_empty() {
        return Err(At::new("uris", BadCommand::Uris));
    }
    let variables = form.environment.as_ref().map(|e| e.variables.as_slice()).unwrap_or_default();
    let variable = |(at, form)| read_variable(form).under(format_args!("environment.variables[{at}]"));
    let command = Command {
        shell: form.shell(),
        value: form.value.clone(),
        arguments: form.arguments.clone(),
        environment: variables.iter().enumerate().map(variable).collect::<Result<_, At<BadCommand>>>()?,
        user: form.user.clone(),
    };
    command.check().at("")?;
    Ok(command)
}

fn read_variable(form: &Variable) -> Result<(String, String), At<BadCommand>> {
    let name: &String = needed("name", &form.name)?;
    let number = form.r#type.unwrap_or(variable::Type::Value as i32);
    match variable::Type::try_from(number) {
        Ok(variable::Type::Value) => {}
        Ok(variable::Type::Secret) => return Err(At::new("secret", BadCommand::Secret)),
        Ok(variable::Type::Unknown) | Err(_) => {
            return Err(At::new("type", BadCommand::VariableType(number)));
        }
    }
    let value: &String = needed("value", &form.value)?;
    Ok((name.clone(), value.clone()))
}

/// The command as a message.
pub fn write(command: &Command) -> CommandInfo {
    let variable = |(name, value): &(String, String)| Variable {
        name: Some(name.clone()),
        r#type: Some(variable::Type::Value as i32),
        value: Some(value.clone()),
        secret: None,
    };
    let variables: Vec<_> = command.environment.iter().map(variable).collect();
    CommandInfo {
        uris: Vec::new(),
        environment: (!variables.is_empty()).then_some(v1::Environment { variables }),
        shell: Some(command.shell),
        value: command.value.clone(),
        arguments: command.arguments.clone(),
        user: command.user.clone(),
    }
}
