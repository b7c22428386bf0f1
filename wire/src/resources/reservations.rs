//! The stack of reservations of a resource, in both forms.

use bourse_proto::v1;
use bourse_proto::v1::resource::{ReservationInfo, reservation_info};
use bourse_types::{Principal, Reservation, ReservationKind, Role};

use super::{BadResource, Form};
use crate::at::{At, Missing, Place, Under};
use crate::labels;

/// Reads the reservations of a resource in whichever form it is.
pub(super) fn read(form: &v1::Resource) -> Result<Vec<Reservation>, At<BadResource>> {
    match (&form.reservations[..], &form.reservation) {
        ([], None) => read_static(form),
        ([], Some(reservation)) => read_dynamic(form, reservation).map(|reservation| vec![reservation]),
        (_, Some(_)) => Err(At::new("reservation", BadResource::BothForms)),
        (stack, None) => read_stack(form, stack),
    }
}

/// The older form without `reservation`: unreserved, or reserved by the agent's flags.
fn read_static(form: &v1::Resource) -> Result<Vec<Reservation>, At<BadResource>> {
    let role = Role::new(form.role()).at("role")?;
    if role.is_any() {
        return Ok(Vec::new());
    }
    let (principal, labels) = (None, labels::read(None).under("")?);
    Ok(vec![Reservation { kind: ReservationKind::Static, role, principal, labels }])
}

/// The older form with `reservation`, whose role stands in `role`.
fn read_dynamic(form: &v1::Resource, reservation: &ReservationInfo) -> Result<Reservation, At<BadResource>> {
    let role = Role::new(form.role()).at("role")?;
    if role.is_any() {
        return Err(At::new("role", BadResource::ReservedForAny));
    }
    let (principal, labels) = read_maker(reservation).under("reservation")?;
    Ok(Reservation { kind: ReservationKind::Dynamic, role, principal, labels })
}

fn read_stack(form: &v1::Resource, stack: &[ReservationInfo]) -> Result<Vec<Reservation>, At<BadResource>> {
    let mut reservations: Vec<Reservation> = Vec::with_capacity(stack.len());
    for (at, info) in stack.iter().enumerate() {
        let reservation =
            read_refinement(info, reservations.last()).under(format_args!("reservations[{at}]"))?;
        reservations.push(reservation);
    }
    // Mesos' operator endpoints set `role` to that of the last reservation, which does no harm.
    let last = reservations.last().map(|reservation| reservation.role.as_str());
    if form.role.is_some() && form.role.as_deref() != last {
        return Err(At::new("role", BadResource::BothForms));
    }
    Ok(reservations)
}

fn read_refinement(
    info: &ReservationInfo,
    below: Option<&Reservation>,
) -> Result<Reservation, At<BadResource>> {
    let kind = match info.r#type.map(reservation_info::Type::try_from) {
        Some(Ok(reservation_info::Type::Static)) => ReservationKind::Static,
        Some(Ok(reservation_info::Type::Dynamic)) => ReservationKind::Dynamic,
        Some(Ok(reservation_info::Type::Unknown) | Err(_)) | None => {
            return Err(At::new("type", BadResource::ReservationType));
        }
    };
    let role = info.role.as_ref().ok_or(BadResource::Missing(Missing)).at("role")?;
    let role = Role::new(role).at("role")?;
    if role.is_any() {
        return Err(At::new("role", BadResource::ReservedForAny));
    }
    if let Some(below) = below {
        if kind == ReservationKind::Static {
            return Err(At::new("type", BadResource::StaticRefinement));
        }
        if role == below.role || !role.is_within(&below.role) {
            let below = below.role.clone();
            return Err(At::new("role", BadResource::NotARefinement { role, below }));
        }
    }
    let (principal, labels) = read_maker(info)?;
    Ok(Reservation { kind, role, principal, labels })
}

type Maker = (Option<Principal>, bourse_types::Labels);

fn read_maker(info: &ReservationInfo) -> Result<Maker, At<BadResource>> {
    let principal = info.principal.as_ref().map(Principal::new).transpose().at("principal")?;
    Ok((principal, labels::read(info.labels.as_ref()).under("labels")?))
}

/// Writes the reservations into a message. `false`: the form cannot say them, and the message must not be
/// sent.
pub(super) fn write(reservations: &[Reservation], form: Form, message: &mut v1::Resource) -> bool {
    match (form, reservations) {
        (Form::Refined, stack) => message.reservations = stack.iter().map(write_refinement).collect(),
        (Form::PreRefinement, []) => message.role = Some(Role::any().as_str().to_owned()),
        (Form::PreRefinement, [one]) => {
            message.role = Some(one.role.as_str().to_owned());
            message.reservation = match one.kind {
                ReservationKind::Static => None,
                ReservationKind::Dynamic => Some(write_maker(one)),
            };
        }
        (Form::PreRefinement, [_, _, ..]) => return false,
    }
    true
}

fn write_refinement(reservation: &Reservation) -> ReservationInfo {
    let kind = match reservation.kind {
        ReservationKind::Static => reservation_info::Type::Static,
        ReservationKind::Dynamic => reservation_info::Type::Dynamic,
    };
    ReservationInfo {
        r#type: Some(kind as i32),
        role: Some(reservation.role.as_str().to_owned()),
        ..write_maker(reservation)
    }
}

fn write_maker(reservation: &Reservation) -> ReservationInfo {
    ReservationInfo {
        principal: reservation.principal.as_ref().map(|principal| principal.as_str().to_owned()),
        labels: labels::write(&reservation.labels),
        ..Default::default()
    }
}
