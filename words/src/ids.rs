//! Ids, short.

/// The part of an id by which its master tells things apart: `S3` of an agent, `0001` of a framework, `O12` of an
/// offer. Every command takes it for the whole where it names one thing. Other ids as they are.
pub fn short(id: &str) -> &str {
    match id.rsplit_once('-') {
        Some((master, number)) if is_master(master) && !number.is_empty() => number,
        _ => id,
    }
}

/// Whether this is an id of a master, which ids of agents, frameworks and offers begin with.
pub fn is_master(id: &str) -> bool {
    id.is_ascii() && id.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_part_of_an_id_is_what_its_master_numbers() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        assert_eq!(
            (short(&format!("{master}-O12")), short(master), short("web-0")),
            ("O12", master, "web-0")
        );
    }
}
