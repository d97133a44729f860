//! Just enough JSON to write a description: the runtime has no library for it.

use std::fmt;

use convoke_core::few::FewByKey;

/// A value. Keys are sorted, and what is nothing is left out: so the same contract has the same text.
pub(super) enum Json {
    Nothing,
    Flag,
    Number(u32),
    Text(String),
    List(Vec<Json>),
    Object(FewByKey<String, Json>),
    /// JSON that somebody else has written.
    Ready(String),
}

impl Json {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Nothing, Self::text)
    }

    pub(super) fn texts(texts: &[String]) -> Self {
        if texts.is_empty() { Self::Nothing } else { Self::List(texts.iter().map(|text| Self::text(text)).collect()) }
    }

    pub(super) fn flag(flag: bool) -> Self {
        if flag { Self::Flag } else { Self::Nothing }
    }

    pub(super) fn object<const N: usize>(entries: [(&str, Self); N]) -> Self {
        // Compiled once, and not for each length.
        fn of(entries: &mut dyn Iterator<Item = (&str, Json)>) -> Json {
            let mut there = FewByKey::default();
            for (name, value) in entries.filter(|(_, value)| !matches!(value, Json::Nothing)) {
                there.insert(name.to_owned(), value);
            }
            Json::Object(there)
        }
        of(&mut entries.into_iter())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("null"),
            Self::Flag => f.write_str("true"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => quoted(text, f),
            Self::Ready(json) => f.write_str(json),
            Self::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(entries) => {
                f.write_str("{")?;
                for (i, (name, value)) in entries.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    quoted(name, f)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if u32::from(c) < 0x20 => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// JSON without any space between its words, on lines of its own, indented by two.
pub(super) fn pretty(compact: &str) -> String {
    let (mut text, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        let outside = !in_string;
        if outside && matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
            line(&mut text, depth);
        }
        text.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            '{' | '[' if outside => {
                // What is empty stays on its line.
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            ',' if outside => line(&mut text, depth),
            ':' if outside => text.push(' '),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json_and_can_be_set_on_lines() {
        let ready = Json::Ready(r#"{"a":[],"b":{},"c":[1,{"d":"x,{\":"}]}"#.to_owned());
        let json = Json::object([
            ("schema", ready),
            ("name", Json::text("a \"b\"\n")),
            ("gone", Json::Nothing),
            ("bare", Json::flag(true)),
            ("list", Json::texts(&["x".to_owned(), "y".to_owned()])),
        ]);
        let compact = json.to_string();
        let schema = r#"{"a":[],"b":{},"c":[1,{"d":"x,{\":"}]}"#;
        assert_eq!(compact, format!(r#"{{"bare":true,"list":["x","y"],"name":"a \"b\"\n","schema":{schema}}}"#));
        let lines = r#"{
  "bare": true,
  "list": [
    "x",
    "y"
  ],
  "name": "a \"b\"\n",
  "schema": {
    "a": [],
    "b": {},
    "c": [
      1,
      {
        "d": "x,{\":"
      }
    ]
  }
}"#;
        assert_eq!(pretty(&compact), lines);
    }
}
