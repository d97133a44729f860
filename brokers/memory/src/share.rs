//! Which member has which partition.

use convoke_core::few::sort_by;

/// Shares units among members: every member gets as many as any other, or one more, and no unit moves that need not.
///
/// `current` says for each unit which member has it. The result is the same for the same input.
pub(crate) fn share(current: &[Option<usize>], members: usize) -> Vec<Option<usize>> {
    if members == 0 {
        return vec![None; current.len()];
    }
    let mut counts = vec![0_usize; members];
    for member in current.iter().flatten() {
        counts[*member] += 1;
    }
    // Those that have most may keep one more, so that least moves.
    let mut order: Vec<usize> = (0..members).collect();
    sort_by(&mut order, |a, b| counts[*b].cmp(&counts[*a]));
    let mut room = vec![current.len() / members; members];
    for member in order.iter().take(current.len() % members) {
        room[*member] += 1;
    }
    let mut shares: Vec<Option<usize>> = current
        .iter()
        .map(|member| {
            let member = (*member)?;
            room[member] = room[member].checked_sub(1)?;
            Some(member)
        })
        .collect();
    let mut turn = 0;
    for share in shares.iter_mut().filter(|share| share.is_none()) {
        // There is room for every unit, so that this ends.
        while room[turn] == 0 {
            turn = (turn + 1) % members;
        }
        room[turn] -= 1;
        *share = Some(turn);
        turn = (turn + 1) % members;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_even_and_nothing_moves_that_need_not() {
        for units in 0..20 {
            let mut current = vec![None; units];
            for members in [1, 2, 3, 5, 8] {
                let next = share(&current, members);
                let mut counts = vec![0_usize; members];
                next.iter().for_each(|member| counts[member.unwrap()] += 1);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{counts:?}");
                let moved = current.iter().zip(&next).filter(|(old, new)| old.is_some() && old != new).count();
                let before = current.iter().flatten().collect::<std::collections::BTreeSet<_>>().len();
                assert!(moved <= units - units / members * before.min(members).max(1).min(members), "{moved} of {units}");
                assert_eq!(share(&next, members), next, "stable");
                current = next;
            }
        }
    }

    #[test]
    fn what_a_member_leaves_goes_to_the_others() {
        let next = share(&[Some(0), None, Some(1), None], 2);
        assert_eq!(next, [Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(share(&[Some(0)], 0), [None]);
    }
}
