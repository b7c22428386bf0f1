//! What the masters of a cluster recorded, and that it comes to the same again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::Cluster;

impl Cluster {
    /// The folder of all recordings.
    pub fn recording(&self) -> PathBuf {
        self.secrets().join("master/recording")
    }

    /// The epochs of which something is recorded, the oldest first.
    ///
    /// # Panics
    /// When there is no recording.
    pub fn recorded_epochs(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.recording()).expect("a master records by default");
        let names = entries.map(|entry| entry.expect("it is readable").file_name().into_string());
        let epoch = |name: String| name.split_once('-').and_then(|(epoch, _)| epoch.parse::<u64>().ok());
        let epochs: BTreeSet<u64> = names.filter_map(|name| epoch(name.ok()?)).collect();
        epochs.into_iter().collect()
    }

    /// Replays all that is recorded of an epoch, and tells what the replay says of it.
    ///
    /// # Panics
    /// When it does not come to the same.
    #[track_caller]
    pub fn replay(&self, epoch: u64) -> String {
        let folder = self.recording().display().to_string();
        let ran = self.cli().ok(["replay", &folder, "--epoch", &epoch.to_string(), "--quiet"]);
        assert!(ran.stdout.contains("the same effects as recorded"), "{ran}");
        ran.stdout
    }
}
