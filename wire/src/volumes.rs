//! Volumes of tasks, and what those of disk resources have in common with them.
//!
//! A path of the machine is said in either of two ways, of old by `host_path` and since by a source. What a volume driver,
//! a plugin or a store of secrets would have to provide is refused by name.

use bourse_proto::v1;
use bourse_proto::v1::volume::source::Type;
use bourse_proto::v1::volume::source::sandbox_path::Type as Whose;
use bourse_types::{BadVolume, Volume, VolumeMode};

use crate::at::{At, Missing, Place, Under, needed};

/// A volume that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadVolumeForm {
    /// A required field that was not sent.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// What no task can have.
    #[error(transparent)]
    Volume(#[from] BadVolume),
    /// A number that means nothing here.
    #[error("{0} is no mode of a volume; send RW or RO")]
    Mode(i32),
    /// Something that agents do not provide.
    #[error("this release mounts paths of the machine and of the task's own sandbox; leave {0} out")]
    Unsupported(&'static str),
    /// The machine's path is said twice.
    #[error("host_path and source both say where the volume is from; leave one out")]
    Both,
}

/// Reads the volumes of a task.
pub fn read(forms: &[v1::Volume]) -> Result<Vec<Volume>, At<BadVolumeForm>> {
    let one = |(index, form)| read_one(form).under(format_args!("[{index}]"));
    let volumes = forms.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    Volume::check_all(&volumes).at("")?;
    Ok(volumes)
}

fn read_one(form: &v1::Volume) -> Result<Volume, At<BadVolumeForm>> {
    let refuse = |path: &'static str, is_set: bool| match is_set {
        true => Err(At::new(path, BadVolumeForm::Unsupported(path))),
        false => Ok(()),
    };
    refuse("image", form.image.is_some())?;
    let mode: i32 = *needed("mode", &form.mode)?;
    let mode = read_mode(mode).ok_or(BadVolumeForm::Mode(mode)).at("mode")?;
    let container_path: &String = needed("container_path", &form.container_path)?;
    let host_path = match (&form.host_path, &form.source) {
        (Some(_), Some(_)) => return Err(At::new("", BadVolumeForm::Both)),
        (Some(path), None) => Some(path),
        (None, None) => None,
        (None, Some(source)) => match source.r#type.and_then(|number| Type::try_from(number).ok()) {
            Some(Type::HostPath) => {
                let host = source.host_path.as_ref();
                refuse(
                    "source.host_path.mount_propagation",
                    host.is_some_and(|host| host.mount_propagation.is_some()),
                )?;
                host.and_then(|host| host.path.as_ref())
            }
            Some(Type::SandboxPath) => {
                let sandbox = source.sandbox_path.as_ref();
                let whose = sandbox.and_then(|sandbox| sandbox.r#type);
                refuse("source.sandbox_path of a parent", whose == Some(Whose::Parent as i32))?;
                let path = sandbox.and_then(|sandbox| sandbox.path.as_ref());
                // Relative is what makes it the sandbox's.
                if let Some(path) = path.filter(|path| path.starts_with('/')) {
                    return Err(At::new(
                        "source.sandbox_path.path",
                        BadVolume::HostPath(path.clone()).into(),
                    ));
                }
                path
            }
            _ => return Err(At::new("source.type", BadVolumeForm::Unsupported("source.type"))),
        },
    };
    let host_path = host_path.map(|path| path.as_str().into());
    let volume = Volume { container_path: container_path.as_str().into(), host_path, mode };
    volume.check().at("")?;
    Ok(volume)
}

pub(crate) fn read_mode(number: i32) -> Option<VolumeMode> {
    match v1::volume::Mode::try_from(number) {
        Ok(v1::volume::Mode::Rw) => Some(VolumeMode::ReadWrite),
        Ok(v1::volume::Mode::Ro) => Some(VolumeMode::ReadOnly),
        Err(_) => None,
    }
}

/// The volume as a message, in the old form, which every release of Mesos reads.
pub fn write(volume: &Volume) -> v1::Volume {
    let mode = match volume.mode {
        VolumeMode::ReadWrite => v1::volume::Mode::Rw,
        VolumeMode::ReadOnly => v1::volume::Mode::Ro,
    };
    v1::Volume {
        mode: Some(mode as i32),
        container_path: Some(volume.container_path.to_string()),
        host_path: volume.host_path.as_deref().map(str::to_owned),
        ..Default::default()
    }
}
