//! The flags that every client verb shares.

use std::path::PathBuf;

use crate::settings::{Given, Settings, SettingsError};

/// Where the master is and how to speak to it.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct ClientArgs {
    /// The master's address as host:port or URL [env: BOURSE_MASTER] [default: what `bourse dev` wrote, else 127.0.0.1:5050]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub master: Option<String>,

    /// File that holds the token [env: BOURSE_TOKEN_FILE, or the token itself in BOURSE_TOKEN] [default: what `bourse dev` wrote]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,

    /// Certificate authority of the master, as PEM; without it those of the system are trusted [env: BOURSE_CA_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,

    /// Allow a plain connection to another machine: everybody on the way can read the token [env: BOURSE_INSECURE]
    #[arg(long, global = true)]
    pub insecure: bool,
}

impl ClientArgs {
    /// The flags, completed from the process' environment, the context file and the defaults.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let given = Given {
            master: self.master.clone(),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            insecure: self.insecure,
        };
        Settings::find(given, &|name| std::env::var(name).ok())
    }
}
