//! What makes a disk resource special: the disk it is on, and the persistent volume on it.

use std::sync::Arc;

use bourse_proto::v1;
use bourse_proto::v1::resource::{DiskInfo, disk_info};
use bourse_types::{Disk, DiskSource, DiskSourceKind, Persistence, Principal, Volume};

use super::BadResource;
use crate::at::{At, Place, Under, needed};
use crate::{labels, volumes};

pub(super) fn read(form: &DiskInfo) -> Result<Disk, At<BadResource>> {
    Ok(Disk {
        persistence: form
            .persistence
            .as_ref()
            .map(|p| read_persistence(p).under("persistence"))
            .transpose()?,
        volume: form.volume.as_ref().map(|volume| read_volume(volume).under("volume")).transpose()?,
        source: form.source.as_ref().map(|s| read_source(s).under("source")).transpose()?.map(Box::new),
    })
}

fn read_persistence(form: &disk_info::Persistence) -> Result<Persistence, At<BadResource>> {
    let id: &String = needed("id", &form.id)?;
    let principal = form.principal.as_ref().map(Principal::new).transpose().at("principal")?;
    Ok(Persistence { id: id.as_str().into(), principal })
}

fn read_volume(form: &v1::Volume) -> Result<Volume, At<BadResource>> {
    if form.image.is_some() || form.source.is_some() {
        return Err(At::new("", BadResource::VolumeSource));
    }
    let mode: i32 = *needed("mode", &form.mode)?;
    let mode = volumes::read_mode(mode).ok_or(BadResource::Unknown(mode, "Volume.Mode")).at("mode")?;
    let container_path: &String = needed("container_path", &form.container_path)?;
    Ok(Volume { container_path: container_path.as_str().into(), host_path: shared(&form.host_path), mode })
}

fn read_source(form: &disk_info::Source) -> Result<DiskSource, At<BadResource>> {
    let number: i32 = *needed("type", &form.r#type)?;
    let path = || form.path.as_ref().and_then(|path| shared(&path.root));
    let mount = || form.mount.as_ref().and_then(|mount| shared(&mount.root));
    let (kind, root) = match disk_info::source::Type::try_from(number) {
        Ok(disk_info::source::Type::Path) => (DiskSourceKind::Path, path()),
        Ok(disk_info::source::Type::Mount) => (DiskSourceKind::Mount, mount()),
        Ok(disk_info::source::Type::Block) => (DiskSourceKind::Block, None),
        Ok(disk_info::source::Type::Raw) => (DiskSourceKind::Raw, None),
        Ok(disk_info::source::Type::Unknown) | Err(_) => {
            return Err(At::new("type", BadResource::Unknown(number, "Resource.DiskInfo.Source.Type")));
        }
    };
    Ok(DiskSource {
        kind,
        root,
        id: shared(&form.id),
        vendor: shared(&form.vendor),
        profile: shared(&form.profile),
        metadata: labels::read(form.metadata.as_ref()).under("metadata")?,
    })
}

fn shared(text: &Option<String>) -> Option<Arc<str>> {
    text.as_deref().map(Arc::from)
}

pub(super) fn write(disk: &Disk) -> DiskInfo {
    let persistence = |persistence: &Persistence| disk_info::Persistence {
        id: Some(persistence.id.to_string()),
        principal: persistence.principal.as_ref().map(|principal| principal.as_str().to_owned()),
    };
    DiskInfo {
        persistence: disk.persistence.as_ref().map(persistence),
        volume: disk.volume.as_ref().map(volumes::write),
        source: disk.source.as_deref().map(write_source),
    }
}

/// The root of a block or raw disk is not said: they have none on the wire.
fn write_source(source: &DiskSource) -> disk_info::Source {
    let form = disk_info::Source {
        id: text(&source.id),
        vendor: text(&source.vendor),
        profile: text(&source.profile),
        metadata: labels::write(&source.metadata),
        ..Default::default()
    };
    let kind = |kind: disk_info::source::Type| Some(kind as i32);
    match source.kind {
        DiskSourceKind::Path => disk_info::Source {
            r#type: kind(disk_info::source::Type::Path),
            path: source.root.as_ref().map(|root| disk_info::source::Path { root: Some(root.to_string()) }),
            ..form
        },
        DiskSourceKind::Mount => disk_info::Source {
            r#type: kind(disk_info::source::Type::Mount),
            mount: source.root.as_ref().map(|root| disk_info::source::Mount { root: Some(root.to_string()) }),
            ..form
        },
        DiskSourceKind::Block => disk_info::Source { r#type: kind(disk_info::source::Type::Block), ..form },
        DiskSourceKind::Raw => disk_info::Source { r#type: kind(disk_info::source::Type::Raw), ..form },
    }
}

fn text(text: &Option<Arc<str>>) -> Option<String> {
    text.as_ref().map(|text| text.to_string())
}
