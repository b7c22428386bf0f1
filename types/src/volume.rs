//! What a task has of the machine's files besides what every task has.
//!
//! Paths are texts: what they lead to is the agent's business.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Volumes of one task, at most.
pub const VOLUMES_MAX: usize = 64;

/// Where a task finds a file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    /// The path inside the container, absolute or relative to the sandbox.
    pub container_path: Arc<str>,
    /// The path on the machine, absolute, or relative to the sandbox, where it is made; `None` for a persistent volume.
    pub host_path: Option<Arc<str>>,
    /// Whether the task may write.
    pub mode: VolumeMode,
}

/// Whether a task may write to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeMode {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// A volume that no task can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVolume {
    /// A text that is none.
    #[error(
        "{0:?} is no volume; write HOST_PATH:CONTAINER_PATH, or HOST_PATH:CONTAINER_PATH:ro for reading only"
    )]
    Text(String),
    /// Nothing is named that could be mounted.
    #[error("the volume has no host path; set it")]
    NoHostPath,
    /// A host path that may lead anywhere.
    #[error("the host path {0:?} is empty or goes up; write it without empty parts, `.` and `..`")]
    HostPath(String),
    /// A place that cannot be had.
    #[error(
        "the container path {0:?} is empty, goes up, or is each container's own; write it without empty parts, `.` and \
         `..`, and not as / or in /proc, /sys or /dev"
    )]
    ContainerPath(String),
    /// One place for two.
    #[error("two volumes have the container path {0:?}; give each its own")]
    Twice(String),
    /// More than a task may have.
    #[error("{0} volumes are too many; a task has {VOLUMES_MAX} at most")]
    TooMany(usize),
}

impl Volume {
    /// Refuses what no task can have, whatever machine it runs on.
    pub fn check(&self) -> Result<(), BadVolume> {
        let host = self.host_path.as_deref().ok_or(BadVolume::NoHostPath)?;
        if !goes_down(host) {
            return Err(BadVolume::HostPath(shown(host)));
        }
        let own = ["/proc", "/sys", "/dev"].iter().any(|own| {
            self.container_path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        match goes_down(&self.container_path) && !own {
            true => Ok(()),
            false => Err(BadVolume::ContainerPath(shown(&self.container_path))),
        }
    }

    /// Refuses volumes that no task can have together.
    pub fn check_all(volumes: &[Volume]) -> Result<(), BadVolume> {
        if volumes.len() > VOLUMES_MAX {
            return Err(BadVolume::TooMany(volumes.len()));
        }
        volumes.iter().try_for_each(Volume::check)?;
        let twice = |(at, volume): (usize, &Volume)| {
            let before = &volumes[..at];
            before.iter().any(|other| other.container_path == volume.container_path)
        };
        match volumes.iter().enumerate().find(|entry| twice(*entry)) {
            Some((_, volume)) => Err(BadVolume::Twice(shown(&volume.container_path))),
            None => Ok(()),
        }
    }
}

/// Whether a path, with or without a `/` in front, has a part and each part names something in the one before.
pub(crate) fn goes_down(path: &str) -> bool {
    let relative = path.strip_prefix('/').unwrap_or(path);
    relative.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

/// Enough of a text to find it by.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

/// `HOST_PATH:CONTAINER_PATH`, with `:ro` or `:rw` after it; without, the task may write.
impl FromStr for Volume {
    type Err = BadVolume;

    fn from_str(text: &str) -> Result<Volume, BadVolume> {
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, mode) = match parts[..] {
            [host, container] | [host, container, "rw"] => (host, container, VolumeMode::ReadWrite),
            [host, container, "ro"] => (host, container, VolumeMode::ReadOnly),
            _ => return Err(BadVolume::Text(shown(text))),
        };
        let volume = Volume { container_path: container.into(), host_path: Some(host.into()), mode };
        volume.check().map(|()| volume)
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host_path {
            write!(f, "{host}:")?;
        }
        f.write_str(&self.container_path)?;
        match self.mode {
            VolumeMode::ReadWrite => Ok(()),
            VolumeMode::ReadOnly => f.write_str(":ro"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_read_as_it_is_written() {
        for text in
            ["/srv/data:/data", "/etc/web.toml:/etc/web.toml:ro", "cache:/var/cache", "/srv/data:data"]
        {
            assert_eq!(text.parse::<Volume>().map(|volume| volume.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("/a:/b:rw".parse::<Volume>(), "/a:/b".parse());
    }

    #[test]
    fn what_no_task_can_have_is_refused() {
        let bad = |text: &str| text.parse::<Volume>().expect_err("no volume");
        for text in ["", "/a", "/a:/b:no", "/a:/b:ro:ro"] {
            assert_eq!(bad(text), BadVolume::Text(text.into()));
        }
        for host in ["", "/", "/a/../b", "../b", "/a//b", "/a/."] {
            assert_eq!(bad(&format!("{host}:/b")), BadVolume::HostPath(host.into()));
        }
        for container in ["", "/", "/a/..", "/proc", "/proc/1", "/sys/fs", "/dev"] {
            assert_eq!(bad(&format!("/a:{container}")), BadVolume::ContainerPath(container.into()));
        }
        assert!("/a:/device".parse::<Volume>().is_ok());
        let persistent =
            Volume { container_path: "data".into(), host_path: None, mode: VolumeMode::ReadWrite };
        assert_eq!(persistent.check(), Err(BadVolume::NoHostPath));
    }

    #[test]
    fn volumes_of_one_task_have_places_of_their_own_and_are_bounded() {
        let volume = |number: usize| format!("/a:/b{number}").parse::<Volume>().expect("one");
        let most: Vec<Volume> = (0..VOLUMES_MAX).map(volume).collect();
        assert_eq!(Volume::check_all(&most), Ok(()));
        let more: Vec<Volume> = (0..=VOLUMES_MAX).map(volume).collect();
        assert_eq!(Volume::check_all(&more), Err(BadVolume::TooMany(65)));
        assert_eq!(
            Volume::check_all(&[volume(1), volume(2), volume(1)]),
            Err(BadVolume::Twice("/b1".into()))
        );
    }
}
