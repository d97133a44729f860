//! What the environment says.

use convoke_core::broker::BrokerUrl;
use convoke_core::few::FewByKey;
use convoke_core::{Error, ErrorKind};

use super::{Deployment, Place, Said, SaidUrl};
use crate::app::{BROKER_VARIABLE, CONFIG_VARIABLE, GROUPS_VARIABLE, TOPICS_VARIABLE};
use crate::words;

/// Variables that name a further broker's URL begin with this.
const BROKERS_PREFIX: &str = "CONVOKE_BROKER_";

/// The variable of a further broker's URL.
pub(crate) fn broker_variable(broker: &str) -> String {
    format!("{BROKERS_PREFIX}{}", suffix(broker))
}

/// What the name of a broker is in the name of its variable.
pub(super) fn suffix(broker: &str) -> String {
    broker.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// What the variables say, and the path of a configuration file if they name one.
pub(crate) fn from_env() -> Result<(Deployment, Option<String>), Error> {
    let mut deployment = Deployment::default();
    if let Some(url) = variable(BROKER_VARIABLE)? {
        BrokerUrl::parse(&url).map_err(|error| {
            Error::new(ErrorKind::InvalidUrl, format!("the variable {BROKER_VARIABLE} holds no broker's URL")).with_source(error)
        })?;
        deployment.url = Some(Said { value: SaidUrl(url), at: Place::of_variable(BROKER_VARIABLE) });
    }
    for (name, value) in std::env::vars_os() {
        // Not all of these need be ours: what no broker of the application is named after is not looked at.
        let Some(suffix) = name.to_str().and_then(|name| name.strip_prefix(BROKERS_PREFIX)) else { continue };
        let Some(url) = value.to_str() else { continue };
        let at = Place::of_variable(&format!("{BROKERS_PREFIX}{suffix}"));
        deployment.variables.insert(suffix.to_owned(), Said { value: SaidUrl(url.to_owned()), at });
    }
    for (name, what) in [(TOPICS_VARIABLE, "a topic"), (GROUPS_VARIABLE, "a group")] {
        let Some(text) = variable(name)? else { continue };
        let renamed = renames(name, what, &text, &mut deployment.problems);
        *(if name == TOPICS_VARIABLE { &mut deployment.topics } else { &mut deployment.groups }) = renamed;
    }
    Ok((deployment, variable(CONFIG_VARIABLE)?))
}

fn variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error @ std::env::VarError::NotUnicode(_)) => {
            let _ = error; // Its text would repeat the value, which may hold a password.
            let kind = if name == BROKER_VARIABLE { ErrorKind::InvalidUrl } else { ErrorKind::Configuration };
            Err(Error::new(kind, format!("the variable {name} is not UTF-8")))
        }
    }
}

/// Reads `orders.paid=prod.orders.paid, stock.reserved=prod.stock.reserved`.
fn renames(variable: &str, what: &str, text: &str, problems: &mut Vec<String>) -> FewByKey<String, Said<String>> {
    let at = Place::of_variable(variable);
    let mut renamed = FewByKey::default();
    for pair in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|pair| !pair.is_empty()) {
        let Some((from, to)) = pair.split_once('=') else {
            problems.push(at.problem(format!("`{pair}` is not `old=new`; pairs are separated by commas: `a=b,c=d`")));
            continue;
        };
        if let Some(problem) = words::problem(to, words::Extra::Nothing) {
            problems.push(at.problem(format!("{what} {problem}")));
        } else if renamed.insert(from.to_owned(), Said { value: to.to_owned(), at: at.clone() }).is_some() {
            problems.push(at.problem(format!("`{from}` stands twice: keep one of them")));
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_everything_wrong_with_them_is_said() {
        let mut problems = Vec::new();
        let read = renames("CONVOKE_TOPICS", "a topic", "orders=prod.orders, stock=prod.stock\n", &mut problems);
        let read: Vec<_> = read.iter().map(|(from, to)| (from.as_str(), to.value.as_str())).collect();
        assert_eq!((read, problems.len()), (vec![("orders", "prod.orders"), ("stock", "prod.stock")], 0));
        renames("CONVOKE_TOPICS", "a topic", "orders,a=,b=x/y,c=d,c=e", &mut problems);
        let wrong = [
            "the variable CONVOKE_TOPICS: `orders` is not `old=new`; pairs are separated by commas: `a=b,c=d`",
            "the variable CONVOKE_TOPICS: a topic must not be empty",
            "the variable CONVOKE_TOPICS: a topic must not contain '/', only letters, digits, `.`, `_` and `-`, which every broker \
             takes: `\"x-y\"`",
            "the variable CONVOKE_TOPICS: `c` stands twice: keep one of them",
        ];
        assert_eq!(problems, wrong);
    }

    #[test]
    fn a_brokers_variable_is_named_after_it() {
        assert_eq!(broker_variable("audit-eu.1"), "CONVOKE_BROKER_AUDIT_EU_1");
    }
}
