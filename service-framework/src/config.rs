//! The flags of `bourse services`, and what they are checked against.

use std::net::SocketAddr;
use std::path::PathBuf;

use bourse_client::ClientArgs;
use bourse_types::{BadRole, Role};

/// Run the service framework: it keeps services running that were deployed with `bourse service deploy`
///
/// It keeps its state in one folder and its id with it: started again with the same folder, on this or another
/// machine, it is the same framework and its services go on.
#[derive(clap::Args, Clone, Debug)]
pub struct ServicesArgs {
    /// The master, and the token of kind framework to subscribe with.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Folder for the definitions, the tasks in flight and the framework's id [default: below ~/.local/state/bourse]
    #[arg(long, value_name = "DIR", env = "BOURSE_SERVICES_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Address of the API that the master forwards to; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Host at which the master reaches that API [default: the address listened on]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,

    /// Role to take offers in; may be given more than once, and a service takes the first unless its file names another
    #[arg(long = "role", value_name = "ROLE", default_value = "*")]
    pub roles: Vec<String>,

    /// The framework's name, for people
    #[arg(long, default_value = "services")]
    pub name: String,
}

/// Flags that do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a role.
    #[error("--role {role:?} is not a role")]
    Role {
        /// As given.
        role: String,
        /// What is wrong.
        source: BadRole,
    },
    /// The token would be readable on the way.
    #[error(
        "--listen {0} is not loopback, and this port speaks plain gRPC: everybody on the way could read the token; \
         listen on 127.0.0.1 beside the master, or say --insecure if you mean it"
    )]
    Plain(SocketAddr),
    /// Nobody can call this address.
    #[error(
        "--listen {0} stands for every address of this machine; say with --advertise which one the master calls"
    )]
    Unspecified(SocketAddr),
}

impl ServicesArgs {
    /// The roles, checked.
    pub fn roles(&self) -> Result<Vec<Role>, ConfigError> {
        let role = |role: &String| {
            Role::new(role).map_err(|source| ConfigError::Role { role: role.clone(), source })
        };
        self.roles.iter().map(role).collect()
    }

    /// Refuses an address that would show the token, or that nobody could call.
    pub fn check_listen(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() && !self.client.insecure {
            return Err(ConfigError::Plain(self.listen));
        }
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(ConfigError::Unspecified(self.listen));
        }
        Ok(())
    }

    /// `host:port` for the master, where this port was bound.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        match &self.advertise {
            Some(host) if host.contains(':') => format!("[{host}]:{}", bound.port()),
            Some(host) => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: ServicesArgs,
    }

    fn args(flags: &[&str]) -> ServicesArgs {
        Program::parse_from([&["services"], flags].concat()).args
    }

    #[test]
    fn another_address_than_loopback_is_taken_only_when_it_is_meant() {
        assert!(args(&[]).check_listen().is_ok());
        assert!(matches!(args(&["--listen", "10.0.0.1:0"]).check_listen(), Err(ConfigError::Plain(_))));
        assert!(args(&["--listen", "10.0.0.1:0", "--insecure"]).check_listen().is_ok());
        let everywhere = ["--listen", "0.0.0.0:0", "--insecure"];
        assert!(matches!(args(&everywhere).check_listen(), Err(ConfigError::Unspecified(_))));
        let named = args(&[&everywhere[..], &["--advertise", "services.example"]].concat());
        assert!(named.check_listen().is_ok());
        let bound = "0.0.0.0:7000".parse().expect("an address");
        assert_eq!(named.advertised(bound), "services.example:7000");
    }

    #[test]
    fn roles_are_checked_and_the_default_is_the_star() {
        assert_eq!(args(&[]).roles().expect("right"), [Role::any()]);
        assert_eq!(args(&["--role", "a", "--role", "b/c"]).roles().expect("right").len(), 2);
        assert!(args(&["--role", "a//b"]).roles().is_err());
    }
}
