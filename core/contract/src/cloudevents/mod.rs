//! CloudEvents 1.0: identity, time, the spelling of attributes on each broker, and the way out of an envelope.
//!
//! What is published is in binary mode: attributes are headers, and the payload is the data alone. What comes in may also be in
//! structured mode, see [`unwrap`].

#[cfg(feature = "json")]
mod base64;
#[cfg(feature = "json")]
mod envelope;
mod structured;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::delivery::Incoming;
use crate::names;

pub use structured::{unwrap, wrap};

/// The namespace of ids that are derived rather than drawn.
const DERIVED: Uuid = Uuid::from_u128(0x9c1d_2f4e_6a57_5b0b_8f60_c0e7_0c3e_11ad);

/// A new id, unique and rising with time (UUIDv7).
#[must_use]
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The id of the `index`th event that `handler` returns for the message `cause`.
///
/// It depends on nothing else, so that a repeated attempt, on whatever process, publishes under the same id, and whoever
/// remembers ids sees one event (UUIDv5).
#[must_use]
pub fn derived_id(cause: &str, group: &str, handler: &str, index: usize) -> String {
    let mut name = String::with_capacity(cause.len() + group.len() + handler.len() + 8);
    // The lengths keep ("a", "bc") and ("ab", "c") apart.
    let _ = write!(name, "{}:{cause}{}:{group}{}:{handler}{index}", cause.len(), group.len(), handler.len());
    Uuid::new_v5(&DERIVED, name.as_bytes()).to_string()
}

/// The id of a message: the one it came with, else one made of where it stands, so that a redelivery has the same.
///
/// Where positions mean nothing beyond a connection it is made of what is in it: a weak one, which equal messages share.
pub(crate) fn identity(incoming: &Incoming) -> Cow<'_, str> {
    match incoming.content().id() {
        Some(id) => Cow::Borrowed(id),
        None => identity_of_bare(incoming),
    }
}

fn identity_of_bare(incoming: &Incoming) -> Cow<'_, str> {
    match incoming.message.headers().get_str(names::ORIGIN_ID) {
        Some(id) => Cow::Borrowed(id),
        None if incoming.position.is_stable() => {
            Cow::Owned(format!("{}/{}/{}", incoming.message.topic(), incoming.partition, incoming.position))
        }
        None => {
            let key = incoming.message.key().map_or(&[][..], |key| key.as_bytes());
            let content = [incoming.message.topic().as_str().as_bytes(), key, incoming.message.payload()].join(&0);
            Cow::Owned(Uuid::new_v5(&DERIVED, &content).to_string())
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as CloudEvents `time` wants it.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The date of a day since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The time that RFC 3339 text means, if it is such text; to the millisecond, and none before 1970.
#[must_use]
// Inline, so that it is compiled by who uses it: few do.
#[inline]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let marks = [text.get(4..5)?, text.get(7..8)?, text.get(10..11)?, text.get(13..14)?, text.get(16..17)?];
    let sound = matches!(marks, ["-", "-", "T" | "t" | " ", ":", ":"])
        && (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (hour, minute, second) <= (23, 59, 60);
    if !sound {
        return None;
    }
    let rest = text.get(19..)?;
    let digits = rest.strip_prefix('.').map_or(0, |fraction| fraction.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, zone) = if digits > 0 { (&rest[1..=digits], &rest[1 + digits..]) } else { ("0", rest) };
    let millis = format!("{fraction:0<3}")[..3].parse::<u64>().ok()?;
    // Behind Greenwich it is later there.
    let (east, offset) = match (zone, zone.split_at_checked(1)) {
        ("Z" | "z", _) => (true, 0),
        (_, Some((sign @ ("+" | "-"), hours))) => {
            let (hours, minutes) = hours.split_once(':')?;
            (sign == "+", hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60)
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = if east { seconds.checked_sub(offset)? } else { seconds + offset };
    Some(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis))
}

/// The inverse of [`civil`] (`days_from_civil`), for dates from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// How a broker's clients spell the CloudEvents prefix. Adapters translate with it; everywhere else names are as in
/// [`names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spelling {
    /// `ce-id` (NATS, RabbitMQ, HTTP).
    Dash,
    /// `ce_id` (Kafka, Redis).
    Underscore,
}

impl Spelling {
    /// A name of ours as this broker's clients expect it.
    #[must_use]
    pub fn write(self, name: &str) -> Cow<'_, str> {
        match (self, name.strip_prefix("ce-")) {
            (Self::Underscore, Some(attribute)) => Cow::Owned(format!("ce_{attribute}")),
            _ => Cow::Borrowed(name),
        }
    }

    /// A name as it came, as ours. Every known spelling is understood, whatever this broker's own is.
    #[must_use]
    pub fn read(self, name: &str) -> Cow<'_, str> {
        let attribute = ["ce_", "cloudEvents:", "cloudEvents_"].iter().find_map(|prefix| name.strip_prefix(prefix));
        match attribute {
            Some("datacontenttype") => Cow::Borrowed(names::CONTENT_TYPE),
            Some(attribute) => Cow::Owned(format!("ce-{attribute}")),
            None if name == "ce-datacontenttype" => Cow::Borrowed(names::CONTENT_TYPE),
            None => Cow::Borrowed(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let at = |ms| rfc3339(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_517_986_799_999), "2018-02-07T06:59:59.999Z");
        assert_eq!(at(4_107_542_399_001), "2100-02-28T23:59:59.001Z");
    }

    #[test]
    fn times_are_read_as_they_are_written_and_as_others_write_them() {
        for ms in [0, 951_782_400_000, 1_517_986_799_999, 4_107_542_399_001] {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        }
        let noon = parse_rfc3339("2026-11-21T12:00:00Z");
        for same in
            ["2026-11-21T12:00:00.000000Z", "2026-11-21T14:00:00+02:00", "2026-11-21T09:30:00.0-02:30", "2026-11-21 12:00:00z"]
        {
            assert_eq!(parse_rfc3339(same), noon, "{same}");
        }
        for wrong in [
            "",
            "2026-11-21",
            "2026-13-21T12:00:00Z",
            "2026-11-21T12:00:00",
            "2026-11-21T12:00:00+2",
            "1969-12-31T23:59:59Z",
            "2026-11-2ä12:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_derived_id_depends_on_every_part_and_on_nothing_else() {
        let id = derived_id("1", "g", "h", 0);
        assert_eq!(id, derived_id("1", "g", "h", 0));
        for other in [("2", "g", "h", 0), ("1", "gh", "", 0), ("1", "g", "h", 1)] {
            assert_ne!(id, derived_id(other.0, other.1, other.2, other.3));
        }
    }

    #[test]
    fn a_bare_message_has_the_id_of_its_place_or_of_its_content() {
        use crate::{Message, Position, broker::Token};
        let at = |position, payload: &'static str| {
            Incoming::new(Message::builder("t").payload(payload).build(), 3, position, Token::for_tests(position))
        };
        assert_eq!(identity(&at(Position::Offset(7), "a")), "t/3/7");
        assert_eq!(identity(&at(Position::Tag(1), "a")), identity(&at(Position::Tag(9), "a")));
        assert_ne!(identity(&at(Position::Tag(1), "a")), identity(&at(Position::Tag(1), "b")));
    }

    #[test]
    fn a_bare_message_in_its_groups_place_has_the_id_of_its_first_place() {
        use crate::{Message, Position, broker::Token};
        let message = Message::builder("t").header(names::ORIGIN_ID, "t/3/7").build();
        let position = Position::Offset(0);
        assert_eq!(identity(&Incoming::new(message, 3, position, Token::for_tests(position))), "t/3/7");
    }

    #[test]
    fn every_spelling_of_an_attribute_is_understood() {
        for name in ["ce-id", "ce_id", "cloudEvents:id", "cloudEvents_id"] {
            assert_eq!(Spelling::Dash.read(name), "ce-id");
        }
        assert_eq!(Spelling::Underscore.write("ce-id"), "ce_id");
        assert_eq!(Spelling::Underscore.write("tenant"), "tenant");
    }
}
