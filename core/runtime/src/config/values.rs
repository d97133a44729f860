//! Values: texts with variables in them, numbers, durations, names.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use convoke_core::broker::BrokerUrl;
use toml::Spanned;
use toml::de::DeValue;

use super::vocabulary::{TIMEOUT, Word};
use crate::words::{self, duration};

/// A text as it was written, and as it is meant.
pub(super) struct Text<'t> {
    meant: Cow<'t, str>,
    /// Whether variables stood in it: then nothing of it may be said.
    hidden: bool,
}

/// Why a value cannot be taken, as a sentence.
pub(super) type Wrong = String;

/// Looks a variable up.
pub(super) type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

impl<'t> Text<'t> {
    /// Puts the values of variables in for `${NAME}`; `$${` stands for itself.
    fn new(written: &'t str, variable: Variable<'_>) -> Result<Self, Wrong> {
        if !written.contains("${") {
            return Ok(Self { meant: written.into(), hidden: false });
        }
        let (mut meant, mut hidden, mut rest) = (String::new(), false, written);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                meant.push_str(before);
                meant.push_str("${");
                rest = after;
                continue;
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err("`${` is not closed: a variable is written `${NAME}`, and `${` itself `$${`".to_owned());
            };
            let value = variable(name).ok_or_else(|| {
                format!("the variable `{name}` is not set, or not text; set it, or write `$${{` for `${{` itself")
            })?;
            meant.push_str(before);
            meant.push_str(&value);
            hidden = true;
            rest = after;
        }
        meant.push_str(rest);
        Ok(Self { meant: meant.into(), hidden })
    }

    /// What is made of it; if nothing can be, `why`, or, where that might show the value of a variable, the rule of the key.
    fn read<T>(&self, word: Word, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Result<T, Wrong> {
        read(&self.meant).map_err(|why| {
            if self.hidden { format!("{}; what the variables in it stand for is not that", word.rule()) } else { why }
        })
    }
}

/// A value of a key.
pub(super) struct Value<'t> {
    pub(super) word: Word,
    pub(super) written: &'t Spanned<DeValue<'t>>,
    pub(super) variable: Variable<'t>,
}

impl<'t> Value<'t> {
    fn text(&self) -> Result<Text<'t>, Wrong> {
        match self.written.get_ref() {
            DeValue::String(text) => Text::new(text, self.variable),
            _ => Err(self.word.rule()),
        }
    }

    fn parsed<T>(&self, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.text()?.read(self.word, read)
    }

    /// A number, or a variable that holds one.
    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
        let number = match self.written.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) if text.contains("${") => Some(self.parsed(|text| text.parse().map_err(|_| self.word.rule()))?),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(|| self.word.rule())
    }

    pub(super) fn small_number(&self, range: RangeInclusive<u32>) -> Result<u32, Wrong> {
        let number = self.number(u64::from(*range.start())..=u64::from(*range.end()))?;
        u32::try_from(number).map_err(|_| self.word.rule())
    }

    /// `20` or `"20%"`
    pub(super) fn per_cent(&self) -> Result<u32, Wrong> {
        if let DeValue::String(text) = self.written.get_ref()
            && !text.contains("${")
        {
            let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
            return number.filter(|number| *number <= 100).ok_or_else(|| self.word.rule());
        }
        self.small_number(0..=100)
    }

    /// `16777216` or `"16MiB"`
    pub(super) fn bytes(&self) -> Result<u64, Wrong> {
        if !matches!(self.written.get_ref(), DeValue::String(_)) {
            return self.number(1..=u64::MAX);
        }
        self.parsed(|text| {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1_u64)];
            let (number, unit) =
                units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes))).unwrap_or((text, &1));
            let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
            bytes.filter(|bytes| *bytes > 0).ok_or_else(|| self.word.rule())
        })
    }

    pub(super) fn duration(&self) -> Result<Duration, Wrong> {
        self.parsed(|text| {
            let duration = duration::parse(text)?;
            if self.word == TIMEOUT && duration.is_zero() {
                return Err("with no time at all every attempt fails; for no limit leave `timeout` out".to_owned());
            }
            Ok(duration)
        })
    }

    pub(super) fn range(&self) -> Result<(Duration, Duration), Wrong> {
        self.parsed(duration::parse_range)
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Wrong> {
        self.parsed(|text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| self.word.rule())
        })
    }

    /// A name that every broker takes; `what` says of what.
    pub(super) fn name(&self, what: &str) -> Result<String, Wrong> {
        self.parsed(|text| match words::problem(text, words::Extra::Nothing) {
            Some(problem) => Err(format!("{what} {problem}")),
            None => Ok(text.to_owned()),
        })
    }

    /// A broker's URL. What is said of a wrong one never repeats it.
    pub(super) fn url(&self) -> Result<String, Wrong> {
        let text = self.text()?.meant;
        BrokerUrl::parse(&text).map(|_| text.into_owned()).map_err(|error| error.to_string())
    }
}
