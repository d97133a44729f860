//! What a run of the suite has found.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The results of all cases that were run. `Display` is the table, and the story of each failure.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The broker's name, as its harness says.
    pub broker: String,
    /// A row for each case, in the order of the promises.
    pub rows: Vec<Row>,
    /// How long the run took, in real time.
    pub took: Duration,
}

/// What a case came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Row {
    /// The promise's number, as in `D7`.
    pub promise: &'static str,
    /// The case's name.
    pub case: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// How long it took, in real time.
    pub took: Duration,
}

/// What a case can come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// It was not.
    Failed {
        /// What is not as it should be.
        why: String,
        /// What happened to the messages concerned.
        story: String,
    },
    /// It could not be tried, because of this.
    Lacking(String),
}

impl Report {
    /// The cases that could not be tried, in order.
    #[must_use]
    pub fn lacking(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Lacking(_))).map(|row| row.case).collect()
    }

    /// The cases that failed, in order.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed { .. })).map(|row| row.case).collect()
    }

    /// No promise is broken.
    ///
    /// # Panics
    /// If a case failed, with its story; or if no case was run.
    #[track_caller]
    pub fn assert(&self) -> &Self {
        assert!(!self.rows.is_empty(), "no case was run: is there one of that name?");
        let failed = self.failed();
        assert!(failed.is_empty(), "{} of {} cases failed: {}\n{self}", failed.len(), self.rows.len(), failed.join(", "));
        self
    }

    /// Of the cases that were run, these could not be tried and no others: so that what is lacking is known, and does not grow
    /// unseen.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn assert_lacking(&self, expected: &[&str]) -> &Self {
        let run: BTreeSet<_> = self.rows.iter().map(|row| row.case).collect();
        let expected: BTreeSet<_> = expected.iter().copied().filter(|case| run.contains(case)).collect();
        let lacking: BTreeSet<_> = self.lacking().into_iter().collect();
        assert_eq!(lacking, expected, "what could not be tried is not what was expected");
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.case.len()).max().unwrap_or(0);
        writeln!(f, "{}: {} cases", self.broker, self.rows.len())?;
        // First of all, for those who are shown no more than the beginning.
        for Row { case, outcome, .. } in &self.rows {
            if let Outcome::Failed { why, .. } = outcome {
                writeln!(f, "FAILED {case}: {}", first_line(why))?;
            }
        }
        for Row { promise, case, outcome, took } in &self.rows {
            let (said, why) = match outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Failed { why, .. } => ("FAILED", format!("  {}", first_line(why))),
                Outcome::Lacking(why) => ("lacking", format!("  {why}")),
            };
            writeln!(f, "{promise:<4} {case:<width$}  {said:<7} {:>7.3} s{why}", took.as_secs_f64())?;
        }
        let (failed, lacking) = (self.failed().len(), self.lacking().len());
        let passed = self.rows.len() - failed - lacking;
        writeln!(f, "{passed} passed, {failed} failed, {lacking} lacking, in {:.1} s", self.took.as_secs_f64())?;
        for Row { promise, case, outcome, .. } in &self.rows {
            if let Outcome::Failed { why, story } = outcome {
                writeln!(f, "\n{promise} {case}: {why}\nwhat happened:\n{story}")?;
            }
        }
        Ok(())
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 120 { format!("{}…", line.chars().take(119).collect::<String>()) } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        let row = |outcome| Row { promise: "D1", case: "d01_case", outcome, took: Duration::from_millis(1500) };
        Report { broker: "mine".to_owned(), rows: outcomes.into_iter().map(row).collect(), ..Report::default() }
    }

    #[test]
    fn the_table_says_what_each_case_came_to_and_a_failure_has_its_story() {
        let failed = Outcome::Failed { why: "lost: 7".to_owned(), story: "note 7, id x\n".to_owned() };
        let text = report([Outcome::Passed, Outcome::Lacking("no server".to_owned()), failed]).to_string();
        for part in [
            "mine: 3 cases\nFAILED d01_case: lost: 7\n",
            "passed    1.500 s",
            "lacking   1.500 s  no server",
            "FAILED    1.500 s  lost: 7",
            "note 7, id x",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("1 passed, 1 failed, 1 lacking"), "{text}");
    }

    #[test]
    #[should_panic(expected = "1 of 1 cases failed")]
    fn a_failure_is_asserted() {
        report([Outcome::Failed { why: String::new(), story: String::new() }]).assert();
    }

    #[test]
    #[should_panic(expected = "no case was run")]
    fn nothing_is_not_enough() {
        report([]).assert();
    }

    #[test]
    #[should_panic(expected = "not what was expected")]
    fn what_is_lacking_does_not_grow_unseen() {
        report([Outcome::Lacking(String::new())]).assert_lacking(&[]);
    }
}
