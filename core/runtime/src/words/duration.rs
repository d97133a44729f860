//! Durations in quotes: `250ms`, `30s`, `1m30s`.

use std::time::Duration;

const UNITS: [(&str, u64); 6] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

/// Reads a duration.
///
/// # Errors
/// A sentence that says what is wrong with `text` and how it is written.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut nanos = 0_u64;
    let mut smallest = u64::MAX;
    if rest.is_empty() {
        return Err("a duration is a number and a unit, such as `30s`".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| complain(text))?;
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() { no_unit(text, number) } else { complain(text) });
        };
        if *factor >= smallest {
            return Err(format!("`{text}` is not a duration: each unit stands once, the largest first, as in `1m30s`"));
        }
        smallest = *factor;
        let part = number.checked_mul(*factor).and_then(|part| nanos.checked_add(part));
        nanos = part.ok_or_else(|| format!("`{text}` is too long a duration: the longest is 584 years"))?;
        rest = after;
    }
    Ok(Duration::from_nanos(nanos))
}

fn no_unit(text: &str, number: u64) -> String {
    format!("`{text}` is not a duration: it has no unit; write `{number}ms`, `{number}s` or `{number}m`")
}

fn complain(text: &str) -> String {
    format!(
        "`{text}` is not a duration: write whole numbers with a unit (`ns`, `us`, `ms`, `s`, `m`, `h`), such as `250ms`, `30s` \
         or `1m30s`"
    )
}

/// Reads `"200ms..30s"`, or one duration that is both ends.
///
/// # Errors
/// As [`parse`], or if the first is longer than the second.
pub(crate) fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let Some((min, max)) = text.split_once("..") else {
        return parse(text).map(|both| (both, both));
    };
    let range = (parse(min)?, parse(max)?);
    if range.0 > range.1 {
        return Err(format!("the shortest delay stands first: `{max}..{min}`"));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1h2m3s4ms5us6ns"), Ok(Duration::new(3723, 4_005_006)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "30", "s", "1.5s", "30 s", "30S", "-1s", "1s1s", "1s1m", "99999999999h", "30s ", "1d"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_range_has_the_shorter_end_first() {
        assert_eq!(parse_range("200ms..30s"), Ok((Duration::from_millis(200), Duration::from_secs(30))));
        assert_eq!(parse_range("1s"), Ok((Duration::from_secs(1), Duration::from_secs(1))));
        assert_eq!(parse_range("30s..1s").unwrap_err(), "the shortest delay stands first: `1s..30s`");
        assert!(parse_range("..30s").is_err());
    }
}
