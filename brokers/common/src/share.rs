//! Which partitions a member is to have, computed by each member for itself.

/// What a member is to do so that everybody has his share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Partitions to give back: somebody has less than his share.
    pub give: Vec<u32>,
    /// Partitions to take, which nobody has.
    pub take: Vec<u32>,
}

/// The share of `me` of `owners.len()` partitions, given who has which.
///
/// `members` are those that live, sorted; an owner that is not among them counts as nobody. Everybody's quota is the number of
/// partitions by that of members, and one more for the first ones where it does not come out even. All members that see the same
/// compute the same, so that no two of them reach for one partition; where they do not see the same, the broker decides.
#[must_use]
pub fn share<M: Ord>(members: &[M], me: &M, owners: &[Option<M>]) -> Share {
    let mut result = Share::default();
    let Ok(mine) = members.binary_search(me) else {
        result.give = units(owners).filter(|(_, owner)| *owner == Some(me)).map(|(unit, _)| unit).collect();
        return result;
    };
    let (quota, more) = (owners.len() / members.len(), owners.len() % members.len());
    let mut room: Vec<usize> = (0..members.len()).map(|place| quota + usize::from(place < more)).collect();
    let mut free = Vec::new();
    for (unit, owner) in units(owners) {
        match owner.and_then(|owner| members.binary_search(owner).ok()) {
            Some(place) if room[place] > 0 => room[place] -= 1,
            Some(place) if place == mine => result.give.push(unit),
            Some(_) => {}
            None => free.push(unit),
        }
    }
    let mut place = 0;
    for unit in free {
        while place < room.len() && room[place] == 0 {
            place += 1;
        }
        if place == room.len() {
            // What others have beyond their share comes free later.
            break;
        }
        room[place] -= 1;
        if place == mine {
            result.take.push(unit);
        }
    }
    result
}

fn units<M>(owners: &[Option<M>]) -> impl Iterator<Item = (u32, Option<&M>)> {
    (0..).zip(owners.iter().map(Option::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets everybody act at once on what all see, until nothing changes. Returns how often partitions changed hands.
    fn settle(members: &[u32], owners: &mut [Option<u32>]) -> usize {
        let mut moves = 0;
        for _round in 0..10 {
            let seen = owners.to_vec();
            let mut acted = false;
            for me in members {
                let Share { give, take } = share(members, me, &seen);
                for unit in give {
                    assert_eq!(owners[unit as usize].take(), Some(*me), "only one's own is given back");
                    acted = true;
                }
                for unit in take {
                    assert!(owners[unit as usize].is_none_or(|owner| !members.contains(&owner)), "two took {unit}");
                    owners[unit as usize] = Some(*me);
                    (acted, moves) = (true, moves + 1);
                }
            }
            if !acted {
                return moves;
            }
        }
        panic!("no end: {members:?} {owners:?}");
    }

    #[test]
    fn whoever_comes_and_goes_everybody_ends_with_his_share_and_no_more_moves_than_must() {
        for count in 0..=9_usize {
            // Every set of members, after every other one.
            for before in 1..16_u32 {
                for after in 1..16_u32 {
                    let set = |bits: u32| (0..4).filter(|bit| bits & (1 << bit) != 0).collect::<Vec<u32>>();
                    let mut owners = vec![None; count];
                    let first = settle(&set(before), &mut owners);
                    assert_eq!(first, count);
                    let (old, members) = (owners.clone(), set(after));
                    settle(&members, &mut owners);
                    let mut kept = 0;
                    for (place, me) in members.iter().enumerate() {
                        let has = owners.iter().filter(|owner| **owner == Some(*me)).count();
                        let quota = count / members.len() + usize::from(place < count % members.len());
                        assert_eq!(has, quota, "{members:?}");
                        kept += quota.min(old.iter().filter(|owner| **owner == Some(*me)).count());
                    }
                    let stayed = old.iter().zip(&owners).filter(|(old, new)| old == new).count();
                    assert!(stayed >= kept, "{before:b} -> {after:b}: {stayed} stayed of {kept}");
                }
            }
        }
    }

    #[test]
    fn who_is_no_member_gives_everything_back() {
        let owners = [Some(1), Some(2), None, Some(1)];
        assert_eq!(share(&[2], &1, &owners), Share { give: vec![0, 3], take: vec![] });
        assert_eq!(share::<u8>(&[], &1, &[]), Share::default());
    }
}
