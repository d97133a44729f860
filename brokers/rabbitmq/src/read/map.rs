//! Who is to have which partition: computed by each member for itself, from the members alone.

/// The partitions of `me`, of `units`, when these members live.
///
/// Each unit goes to the member that it likes best and that has room; everybody has room for an even share. All members that see the
/// same members compute the same, and where one comes or goes little moves. Where they do not see the same, two may consume one
/// queue for a while: the server then has one of them wait.
pub(crate) fn units_of<'m>(members: impl IntoIterator<Item = &'m str>, me: &str, units: u32) -> Vec<u32> {
    let mut members: Vec<&str> = members.into_iter().collect();
    members.sort_unstable();
    members.dedup();
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX).max(1);
    let (quota, more) = (units / count, units % count);
    let mut room: Vec<u32> = (0..count).map(|place| quota + u32::from(place < more)).collect();
    let mut mine = Vec::new();
    for unit in 0..units {
        let best = (0..members.len()).filter(|place| room[*place] > 0).max_by_key(|place| liking(members[*place], unit));
        let Some(place) = best else { break };
        room[place] -= 1;
        if members[place] == me {
            mine.push(unit);
        }
    }
    mine
}

/// FNV-1a, and a finish that lets each bit depend on all.
fn liking(member: &str, unit: u32) -> u64 {
    let bytes = member.bytes().chain(unit.to_be_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(members: &[&str], units: u32) -> Vec<String> {
        let mut owners = vec![String::new(); units as usize];
        for me in members {
            for unit in units_of(members.iter().copied(), me, units) {
                assert!(owners[unit as usize].is_empty(), "two have {unit}");
                owners[unit as usize] = (*me).to_owned();
            }
        }
        assert!(owners.iter().all(|owner| !owner.is_empty()), "{owners:?}");
        owners
    }

    #[test]
    fn everybody_has_an_even_share_and_nobody_the_same() {
        let members = ["a", "b", "c", "d", "e"];
        for count in 1..=5 {
            for units in [1, 2, 8, 13] {
                let owners = owners(&members[..count], units);
                for member in &members[..count] {
                    let has = owners.iter().filter(|owner| owner == member).count();
                    assert!(has == units as usize / count || has == units.div_ceil(count as u32) as usize, "{owners:?}");
                }
            }
        }
    }

    #[test]
    fn when_one_comes_most_stays_where_it_was() {
        let mut stayed = 0;
        for seed in 0..50 {
            let names: Vec<String> = (0..4).map(|n| format!("{seed}-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (before, after) = (owners(&names[..3], 24), owners(&names, 24));
            stayed += before.iter().zip(&after).filter(|(before, after)| before == after).count();
        }
        assert!(stayed > 50 * 24 / 2, "{stayed} of {} stayed", 50 * 24);
    }

    #[test]
    fn the_order_in_which_members_are_seen_does_not_matter() {
        assert_eq!(units_of(["b", "a", "b"], "a", 8), units_of(["a", "b"], "a", 8));
    }
}
