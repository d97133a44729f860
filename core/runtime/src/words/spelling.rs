//! The rules for topics, groups and other names.

/// As long as Kafka takes them; the others take longer ones.
const MAX_BYTES: usize = 249;

/// What a name may hold beside letters, digits, `.`, `_` and `-`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    Nothing,
    /// A parameter: `orders.{region}`.
    Parameter,
    /// A parameter, or a `*` at the end: what a handler may read.
    Pattern,
}

/// What is wrong with a name, as the end of a sentence that begins with what it is.
pub(crate) fn problem(name: &str, extra: Extra) -> Option<String> {
    if name.is_empty() {
        return Some("must not be empty".to_owned());
    }
    if name.len() > MAX_BYTES {
        return Some(format!("is {} bytes long: the limit is {MAX_BYTES}, which is Kafka's", name.len()));
    }
    if name.chars().all(|c| c == '.') {
        return Some(format!("cannot be `{name}`"));
    }
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '{' if extra != Extra::Nothing => match after.split_once('}') {
                Some((parameter, after)) if is_identifier(parameter) => after,
                Some((parameter, _)) => {
                    return Some(format!("has the parameter `{{{parameter}}}`: name it like a variable, `{{region}}`"));
                }
                None => return Some("opens a parameter with `{` and does not close it: `orders.{region}`".to_owned()),
            },
            '*' if extra == Extra::Pattern && after.is_empty() => after,
            '*' if extra == Extra::Pattern => return Some("may have `*` at its end only: `orders.*`".to_owned()),
            _ if c.is_ascii_alphanumeric() || "._-".contains(c) => after,
            _ => return Some(foreign(name, c, extra)),
        };
    }
    open_parts(name)
}

/// What is open is a whole part between dots, and has a name of its own.
fn open_parts(name: &str) -> Option<String> {
    let mut seen = Vec::new();
    for part in name.split('.').filter(|part| part.contains(['{', '*'])) {
        let whole = part == "*" || (part.starts_with('{') && part.find('}') == Some(part.len() - 1));
        if !whole {
            return Some(format!("has `{part}`: what is open is a whole part between dots, as in `orders.{{region}}`"));
        }
        if seen.contains(&part) {
            return Some(format!("has the parameter `{part}` twice"));
        }
        seen.push(part);
    }
    None
}

fn foreign(name: &str, c: char, extra: Extra) -> String {
    let open = |c: char| "{}*>#".contains(c);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let fixed: String = name.chars().filter(|c| !open(*c)).map(plain).collect();
    let fixed = fixed.trim_matches(['-', '.']);
    let fix = if fixed.is_empty() { String::new() } else { format!(": `\"{fixed}\"`") };
    if open(c) {
        let without = if extra == Extra::Nothing { "parameters and patterns" } else { "patterns" };
        return format!("is one name, without {without}{fix}");
    }
    format!("must not contain {c:?}, only letters, digits, `.`, `_` and `-`, which every broker takes{fix}")
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{Extra, problem};

    #[test]
    fn a_topic_is_what_every_broker_takes() {
        for good in ["orders.paid", "a", "A-b_c.1", "orders.{region}", "orders.{a}.{b}"] {
            assert_eq!(problem(good, Extra::Parameter), None, "{good}");
        }
        for bad in ["", "a b", "a\n", "a/b", "é", ".", "..", "orders.{", "orders.{}", "orders.{1}", "a}", "orders.*"] {
            assert!(problem(bad, Extra::Parameter).is_some(), "{bad:?}");
        }
        for bad in ["a{b}", "{a}{b}", "{a}.{a}"] {
            assert!(problem(bad, Extra::Parameter).is_some(), "{bad:?}");
        }
        assert!(problem(&"a".repeat(249), Extra::Nothing).is_none());
        assert!(problem(&"a".repeat(250), Extra::Nothing).is_some());
    }

    #[test]
    fn only_patterns_end_in_a_star() {
        assert_eq!(problem("orders.*", Extra::Pattern), None);
        assert!(problem("orders.*.x", Extra::Pattern).is_some());
        assert!(problem("orders*", Extra::Pattern).is_some());
    }
}
