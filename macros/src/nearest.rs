//! The nearest known word to one that is not known.

/// The candidate that `word` was most likely meant to be, if any is close enough: by its letters, or because it has the candidate
/// in it, as `consumer_group` has `group` and `retries` has `retry`.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let steps = |candidate: &str| {
        let within = format!("_{word}_").contains(&format!("_{candidate}_"));
        let shared = word.chars().zip(candidate.chars()).take_while(|(a, b)| a == b).count();
        let inflected = shared >= 4 && shared + 1 >= candidate.len();
        // Of several, the longest.
        if within || inflected { (limit, usize::MAX - candidate.len()) } else { (distance(word, candidate), usize::MAX) }
    };
    let measured = candidates.into_iter().map(|candidate| (steps(candidate), candidate));
    measured.filter(|((distance, _), _)| *distance <= limit).min_by_key(|(steps, _)| *steps).map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_slip_of_the_finger_is_one_step() {
        assert_eq!(distance("gruop", "group"), 1);
        assert_eq!(distance("grup", "group"), 1);
        assert_eq!(distance("groupp", "group"), 1);
        assert_eq!(distance("", "key"), 3);
    }

    #[test]
    fn only_what_is_close_is_suggested() {
        assert_eq!(nearest("concurency", ["concurrency", "crate"]), Some("concurrency"));
        assert_eq!(nearest("partitions", ["concurrency", "crate"]), None);
        assert_eq!(nearest("consumer_group", ["concurrency", "group"]), Some("group"));
        assert_eq!(nearest("retries", ["on_retry", "retry"]), Some("retry"));
        assert_eq!(nearest("dead_letter_topic", ["topic", "dead_letter"]), Some("dead_letter"));
    }
}
