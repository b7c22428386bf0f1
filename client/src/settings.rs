//! What is needed for a connection, and where each value came from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::context::{BadContext, Context};
use crate::limits::{CONNECT_TIMEOUT, MASTER_PORT};
use crate::target::{BadTarget, Target};
use crate::token::{BadToken, Token, TokenSource};

/// All that a connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is expected to answer, for the words of errors.
    pub peer: Peer,
    /// Whom to call.
    pub target: Target,
    /// Who said so.
    pub target_from: Origin,
    /// Absent: calls carry no token, and only health may be asked.
    pub token: Option<TokenSource>,
    /// Trust this certificate authority (PEM) and no other; where absent, those of the system.
    pub ca_file: Option<PathBuf>,
    /// Plain connections to other machines are allowed.
    pub insecure: bool,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
}

/// What answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A master.
    Master,
    /// An agent.
    Agent,
}

/// Where a value came from, from strongest to weakest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, or code.
    Given,
    /// A variable of the environment.
    Env(&'static str),
    /// The file that `bourse dev` writes.
    Context(PathBuf),
    /// Nobody said anything.
    Default,
}

/// What a caller already knows; every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The master's address.
    pub master: Option<String>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// The certificate authority to trust.
    pub ca_file: Option<PathBuf>,
    /// Plain connections to other machines are allowed.
    pub insecure: bool,
}

/// The settings do not make sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The master's address cannot be read.
    #[error("the master's address ({origin}) cannot be read")]
    Target {
        /// Who gave it.
        origin: Origin,
        /// What is wrong with it, and what to do.
        source: BadTarget,
    },
    /// The token in the environment is none.
    #[error("BOURSE_TOKEN is set and holds no token")]
    Token(#[source] BadToken),
    /// The context file cannot be used.
    #[error(transparent)]
    Context(#[from] BadContext),
}

impl Settings {
    /// For a master at this address, without a token.
    pub fn master(target: Target) -> Settings {
        Settings {
            peer: Peer::Master,
            target,
            target_from: Origin::Given,
            token: None,
            ca_file: None,
            insecure: false,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// For an agent at this address, without a token.
    pub fn agent(target: Target) -> Settings {
        Settings { peer: Peer::Agent, ..Settings::master(target) }
    }

    /// The same with this token.
    pub fn with_token(self, token: TokenSource) -> Settings {
        Settings { token: Some(token), ..self }
    }

    /// From the process' environment and the context file alone.
    pub fn from_env() -> Result<Settings, SettingsError> {
        Settings::find(Given::default(), &|name| std::env::var(name).ok())
    }

    /// Puts together what is given, the environment, the context file and the defaults, in this order:
    ///
    /// - the master: given, `BOURSE_MASTER`, the context file, `127.0.0.1:5050`;
    /// - the token: a file that was given, `BOURSE_TOKEN`, `BOURSE_TOKEN_FILE`, and the context file's only if the
    ///   master is the one of the context file: a token is not shown to a master it was not made for;
    /// - the certificate authority: given, `BOURSE_CA_FILE`, and the context file's under the same condition.
    ///
    /// A variable that is set to nothing counts as not set. A context file that cannot be read is an error only if
    /// something of it would be needed.
    pub fn find(given: Given, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let set = |name| env(name).filter(|value| !value.is_empty());
        let named = given
            .master
            .map(|text| (text, Origin::Given))
            .or_else(|| Some((set("BOURSE_MASTER")?, Origin::Env("BOURSE_MASTER"))));
        let token = match (given.token_file, set("BOURSE_TOKEN"), set("BOURSE_TOKEN_FILE")) {
            (Some(file), _, _) => Some(TokenSource::File(file)),
            (None, Some(text), _) => {
                Some(TokenSource::Text(Token::new(text.trim()).map_err(SettingsError::Token)?))
            }
            (None, None, Some(file)) => Some(TokenSource::File(PathBuf::from(file))),
            (None, None, None) => None,
        };

        let context = match Context::path(env) {
            Some(_) if named.is_some() && token.is_some() => None,
            Some(path) => Context::read(&path)?.map(|context| (context, path)),
            None => None,
        };
        let (text, target_from) = match (named, &context) {
            (Some(named), _) => named,
            (None, Some((context, path))) => (context.master.clone(), Origin::Context(path.clone())),
            (None, None) => (format!("127.0.0.1:{MASTER_PORT}"), Origin::Default),
        };
        let parse = |text: &str, origin: &Origin| {
            text.parse::<Target>().map_err(|source| SettingsError::Target { origin: origin.clone(), source })
        };
        let target = parse(&text, &target_from)?;
        // A token is for one master.
        let ours = match context {
            None => None,
            Some((context, path)) => {
                let its = parse(&context.master, &Origin::Context(path))?;
                its.same_as(&target).then_some(context)
            }
        };
        let (context_token, context_ca) = ours.map(|c| (c.token_file, c.ca_file)).unwrap_or_default();
        Ok(Settings {
            target_from,
            token: token.or(context_token.map(TokenSource::File)),
            ca_file: given.ca_file.or_else(|| set("BOURSE_CA_FILE").map(PathBuf::from)).or(context_ca),
            insecure: given.insecure
                || set("BOURSE_INSECURE").is_some_and(|value| value == "1" || value == "true"),
            ..Settings::master(target)
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Master => "master",
            Peer::Agent => "agent",
        })
    }
}

/// In words: `from --master`, `from BOURSE_MASTER`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Given => f.write_str("as given"),
            Origin::Env(name) => write!(f, "from {name}"),
            Origin::Context(path) => write!(f, "from {}", path.display()),
            Origin::Default => f.write_str("the default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// An environment with a context file that names `dev`'s master and token.
    struct World {
        folder: tempfile::TempDir,
        vars: BTreeMap<&'static str, String>,
    }

    impl World {
        fn new() -> World {
            let folder = tempfile::tempdir().expect("a folder");
            let vars =
                BTreeMap::from([("XDG_CONFIG_HOME", folder.path().to_str().expect("UTF-8").to_owned())]);
            World { folder, vars }
        }

        fn with_context(self, master: &str) -> World {
            let path = self.folder.path().join("bourse/context.toml");
            let token_file = Some(PathBuf::from("/dev-token"));
            Context { master: master.into(), token_file, ca_file: None }.write(&path).expect("written");
            self
        }

        fn with(mut self, name: &'static str, value: &str) -> World {
            self.vars.insert(name, value.into());
            self
        }

        fn find(&self, given: Given) -> Result<Settings, SettingsError> {
            Settings::find(given, &|name| self.vars.get(name).cloned())
        }
    }

    fn master(text: &str) -> Given {
        Given { master: Some(text.into()), ..Given::default() }
    }

    fn file(path: &str) -> Option<TokenSource> {
        Some(TokenSource::File(Path::new(path).into()))
    }

    #[test]
    fn what_bourse_dev_wrote_is_found() {
        let found = World::new().with_context("127.0.0.1:7000").find(Given::default()).expect("found");
        assert_eq!((found.target.to_string().as_str(), found.token), ("127.0.0.1:7000", file("/dev-token")));
    }

    #[test]
    fn without_anything_it_is_the_masters_port_on_this_machine() {
        let found = World::new().find(Given::default()).expect("found");
        assert_eq!(
            (found.target.to_string().as_str(), found.token, found.target_from),
            ("127.0.0.1:5050", None, Origin::Default)
        );
    }

    #[test]
    fn a_flag_beats_the_environment_and_both_beat_the_context() {
        let world = World::new()
            .with_context("127.0.0.1:7000")
            .with("BOURSE_MASTER", "env:1")
            .with("BOURSE_TOKEN", "t");
        assert_eq!(world.find(Given::default()).expect("found").target.host(), "env");
        let found =
            world.find(Given { token_file: Some("/flag".into()), ..master("flag:1") }).expect("found");
        assert_eq!((found.target.host(), found.token), ("flag", file("/flag")));
    }

    #[test]
    fn a_token_is_not_shown_to_a_master_it_was_not_made_for() {
        let world = World::new().with_context("127.0.0.1:7000");
        assert_eq!(world.find(master("elsewhere:7000")).expect("found").token, None);
        assert_eq!(world.find(master("127.0.0.1:7001")).expect("found").token, None);
        assert_eq!(world.find(master("localhost:7000")).expect("found").token, file("/dev-token"));
    }

    #[test]
    fn a_variable_set_to_nothing_is_not_set() {
        let world =
            World::new().with("BOURSE_MASTER", "").with("BOURSE_TOKEN", "").with("BOURSE_TOKEN_FILE", "");
        let found = world.find(Given::default()).expect("found");
        assert_eq!((found.target_from, found.token), (Origin::Default, None));
    }

    #[test]
    fn a_bad_address_says_who_gave_it() {
        let error = World::new().with("BOURSE_MASTER", "host:x").find(Given::default()).expect_err("bad");
        assert_eq!(error.to_string(), "the master's address (from BOURSE_MASTER) cannot be read");
    }
}
