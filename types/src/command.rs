//! What to run: Mesos' `CommandInfo`, without the files to fetch.

/// A command, its environment and its user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Whether `value` is a line for `/bin/sh -c`, else it is a program.
    pub shell: bool,
    /// The line, or the program: a path, or a name looked up in the container's `PATH`.
    pub value: Option<String>,
    /// The arguments of a program, with its own name as the first. Not used with a shell.
    pub arguments: Vec<String>,
    /// Names and values, set in this order, so that of two with one name the last counts.
    pub environment: Vec<(String, String)>,
    /// The user to run as; `None`: the framework's.
    pub user: Option<String>,
}

/// What is handed to exec: the program, and all arguments with its own name as the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv {
    /// A path, or a name to look up in `PATH`.
    pub program: String,
    /// Never empty.
    pub arguments: Vec<String>,
}

/// A command that nothing can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// No line and no program.
    #[error("the command names nothing to run; set its value to a shell line or a program")]
    Nothing,
    /// A NUL byte, at which the kernel would cut the text off.
    #[error("the command's {0} holds a NUL byte, which no process can be given; remove it")]
    Nul(&'static str),
    /// A variable without a name, or with a name that the environment's form cannot hold.
    #[error("the environment variable {0:?} has no name or an '=' in its name; rename it")]
    Variable(String),
}

impl Command {
    /// A line for the shell.
    pub fn shell(line: impl Into<String>) -> Command {
        Command { shell: true, value: Some(line.into()), ..Command::default() }
    }

    /// A program and its arguments, the first of which is the program. Without any, [`Command::argv`] refuses
    /// it.
    pub fn exec<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Command {
        let arguments: Vec<String> = argv.into_iter().map(Into::into).collect();
        Command { shell: false, value: arguments.first().cloned(), arguments, ..Command::default() }
    }

    /// What to hand to exec. A shell line ignores the arguments, and a program without any is given its own
    /// name, both as in Mesos.
    pub fn argv(&self) -> Result<Argv, BadCommand> {
        let value = self.value.clone().filter(|value| !value.is_empty()).ok_or(BadCommand::Nothing)?;
        if value.contains('\0') {
            return Err(BadCommand::Nul("value"));
        }
        if self.shell {
            let arguments = vec!["/bin/sh".into(), "-c".into(), value];
            return Ok(Argv { program: "/bin/sh".into(), arguments });
        }
        if self.arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(BadCommand::Nul("arguments"));
        }
        let arguments = if self.arguments.is_empty() { vec![value.clone()] } else { self.arguments.clone() };
        Ok(Argv { program: value, arguments })
    }

    /// Whether a process can be given this command and its environment; what [`Command::argv`] refuses, and
    /// variables that cannot be set.
    pub fn check(&self) -> Result<(), BadCommand> {
        self.argv()?;
        for (name, value) in &self.environment {
            if name.contains('\0') || value.contains('\0') {
                return Err(BadCommand::Nul("environment"));
            }
            if name.is_empty() || name.contains('=') {
                return Err(BadCommand::Variable(crate::ids::shown(name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(command: &Command) -> (String, Vec<String>) {
        let argv = command.argv().expect("a command that can run");
        (argv.program, argv.arguments)
    }

    #[test]
    fn a_shell_line_is_run_by_the_shell_and_ignores_arguments() {
        let mut command = Command::shell("echo $HOME");
        command.arguments.push("ignored".into());
        assert_eq!(
            argv(&command),
            ("/bin/sh".into(), vec!["/bin/sh".into(), "-c".into(), "echo $HOME".into()])
        );
    }

    #[test]
    fn the_first_argument_of_a_program_is_the_name_it_sees() {
        let command = Command {
            value: Some("/bin/busybox".into()),
            arguments: vec!["ls".into()],
            ..Command::default()
        };
        assert_eq!(argv(&command), ("/bin/busybox".into(), vec!["ls".into()]));
        assert_eq!(
            argv(&Command::exec(["echo", "hello"])),
            ("echo".into(), vec!["echo".into(), "hello".into()])
        );
    }

    #[test]
    fn a_program_without_arguments_sees_its_own_name() {
        let command = Command { value: Some("date".into()), ..Command::default() };
        assert_eq!(argv(&command), ("date".into(), vec!["date".into()]));
    }

    #[test]
    fn what_no_process_can_be_given_is_refused() {
        assert_eq!(Command::default().argv(), Err(BadCommand::Nothing));
        assert_eq!(Command::shell("").argv(), Err(BadCommand::Nothing));
        assert_eq!(Command::exec::<String>([]).argv(), Err(BadCommand::Nothing));
        assert_eq!(Command::shell("a\0b").argv(), Err(BadCommand::Nul("value")));
        assert_eq!(Command::exec(["a", "b\0"]).argv(), Err(BadCommand::Nul("arguments")));
        let with = |name: &str, value: &str| {
            Command { environment: vec![(name.into(), value.into())], ..Command::shell("true") }.check()
        };
        assert_eq!(with("A", "x=y"), Ok(()));
        assert_eq!(with("A", "\0"), Err(BadCommand::Nul("environment")));
        assert_eq!(with("A=B", "x"), Err(BadCommand::Variable("A=B".into())));
        assert_eq!(with("", "x"), Err(BadCommand::Variable("".into())));
    }
}
