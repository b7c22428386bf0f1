//! Whether tasks can be isolated, for those who would go on without.

use std::fs;
use std::path::Path;

use bourse_containerizer::{Config, Isolation, LinuxContainerizer, UserBlocks};

/// Makes a container and removes it, as an agent does at its start; `folder` is made for that and removed too. Tells what
/// tasks would have to do without, each in a sentence without its full stop, or as an error why they cannot be isolated.
pub async fn isolate(folder: &Path) -> anyhow::Result<Vec<String>> {
    let instance = format!("trial-{}", std::process::id());
    let containers = LinuxContainerizer::open(&Config {
        runtime_dir: folder.to_owned(),
        instance,
        // A trial gives no container users of its own.
        users: UserBlocks::default(),
        last_users: folder.join("last-users"),
    })?;
    let tried = containers.try_out(Isolation::Linux).await;
    // What is left of a trial that was cut short goes with the next one.
    let _ = fs::remove_dir(folder);
    Ok(tried?.map_or_else(Vec::new, |can| can.lacking))
}
