//! The test of the suite: what is broken on purpose is found out, each by the case that is meant for it.

use std::collections::BTreeSet;

use convoke_conformance::Time;
use convoke_memory::Guise;

use crate::Memory;
use crate::meddling::Meddling::{self, *};
use crate::sabotage::Sabotage::{self, *};

/// What is broken.
#[derive(Debug, Clone, Copy)]
enum Mutant {
    Broker(Sabotage),
    /// One that commits positions.
    Log(Sabotage),
    Runtime(Meddling),
}
use Mutant::{Broker, Log, Runtime};

/// Each mutant with a case that has to fail. Every promise has one at least.
const MUTANTS: &[(Mutant, &str)] = &[
    (Runtime(AnswersBeforeTheHandler), "d01_a_message_is_settled_only"),
    (Broker(ForgetsAcks), "d01_a_settlement"),
    (Runtime(TakesErrorsForSuccess), "d01_a_message_is_thrown"),
    (Broker(AcksEarly), "d02_a_crash_loses"),
    (Broker(AcksEarly), "d02_a_crash_before"),
    (Broker(HidesCuts), "d03_after_a_cut"),
    (Broker(ForgetsPublishes), "d04_ok_means"),
    (Broker(TakesWhatHasNoTopic), "d04_a_missing"),
    (Broker(TakesWhatHasNoTopic), "d04_each"),
    (Broker(StoresOutOfOrder), "d04_each"),
    (Broker(EndsSilently), "d05_closing"),
    (Broker(DropsPoison), "d06_what_does_not"),
    (Broker(LosesRepeatedHeaders), "d06_what_does_not"),
    (Broker(AcksWhatIsGivenBack), "d07_a_long"),
    (Broker(IgnoresDelays), "d07_a_long"),
    (Broker(IgnoresDelays), "d07_attempts_are_kept"),
    (Broker(ForgetsAttempts), "d07_attempts_are_kept"),
    (Broker(RetriesForEveryGroup), "d07_a_long"),
    (Broker(ForgetsMarks), "d07b_a_message"),
    (Broker(ForgetsPublishes), "d08_after_the_last"),
    (Runtime(TakesErrorsForSuccess), "d08_after_the_last"),
    (Broker(ForgetsDelays), "d09_what_fails"),
    (Broker(ForgetsExtensions), "d10_a_slow"),
    (Runtime(TakesPanicsForSuccess), "d11_a_panic"),
    (Broker(StoresOutOfOrder), "d12_a_key_is_in_order_and"),
    (Broker(LosesKeys), "d12_a_key_is_in_order_and"),
    (Broker(GivesUpAtOnce), "d12_a_key_is_in_order_while"),
    (Broker(LosesKeys), "d13_a_held_key_waits"),
    (Broker(ForgetsAcks), "d14_what_was_settled"),
    (Broker(AcceptsOldEpochs), "d14_what_is_said"),
    (Log(CommitsPastGaps), "d14_positions"),
    (Log(ForgetsProgress), "d07_attempts_are_kept"),
    (Log(ForgetsProgress), "d14_what_was_settled"),
    (Runtime(AnswersBeforeTheHandler), "d14_nothing_is_settled"),
    (Broker(KnowsOneGroup), "d15_groups"),
    (Broker(SharesNothing), "d15_members"),
    (Broker(LetsNothingExpire), "d15_what_expires"),
    (Broker(KnowsNoBounds), "d16_a_flood"),
    (Broker(KnowsNoBounds), "d16_bytes"),
    (Broker(LeaksCredit), "d16_a_flood"),
    (Runtime(RunsOneHandlerAtATime), "d17_a_slow"),
    (Broker(AcksWhatIsGivenBack), "d18_a_drain_finishes"),
    (Broker(LosesTheLastAcks), "d18_clean_stops"),
    (Runtime(AnswersBeforeTheHandler), "d19_pause"),
    (Runtime(RunsEverythingTwice), "d19_pause"),
    (Runtime(CountsWhatIsUnavailable), "d20_while"),
    (Broker(LosesRepeatedHeaders), "d21_id_key"),
    (Broker(ChangesIds), "d21_an_event"),
    (Broker(SharesPlaces), "d22_dead_letters_go"),
    (Broker(LosesRepeatedHeaders), "d22_a_dead_letter"),
    (Broker(SettlesTooEarly), "d22_a_redrive"),
    (Broker(ForgetsAcks), "d22_a_redrive"),
    (Log(ForgetsProgress), "d22_a_dry_run"),
    (Broker(SettlesWhatIsRead), "d22_a_dry_run"),
    (Broker(HasNoLag), "d23_what"),
    (Broker(HidesGaps), "d24_what"),
];

impl Mutant {
    fn broken(self) -> Memory {
        let memory = Memory::new(Time::Virtual);
        match self {
            Broker(sabotage) => Memory { sabotage: Some(sabotage), ..memory },
            Log(sabotage) => Memory { sabotage: Some(sabotage), ..Memory::dressed(Some(Guise::Kafka), Time::Virtual) },
            Runtime(meddling) => Memory { meddling: Some(meddling), ..memory },
        }
    }
}

#[test]
fn whoever_breaks_a_promise_is_found_out() {
    let unnoticed = |(mutant, case): &(Mutant, &str)| {
        let report = convoke_conformance::run_only(case, |_| mutant.broken());
        assert!(!report.rows.is_empty(), "there is no case `{case}`");
        report.failed().is_empty().then(|| format!("{mutant:?} by {case}: {report}"))
    };
    let (some, others) = MUTANTS.split_at(MUTANTS.len() / 2);
    let unnoticed: Vec<_> = std::thread::scope(|scope| {
        let others = scope.spawn(|| others.iter().filter_map(unnoticed).collect::<Vec<_>>());
        some.iter().filter_map(unnoticed).chain(others.join().unwrap()).collect()
    });
    assert!(unnoticed.is_empty(), "not noticed:\n{}", unnoticed.join("\n"));
}

#[test]
fn every_promise_is_broken_by_somebody() {
    let lacking = crate::lacking(None);
    let tried = convoke_conformance::cases().into_iter().filter(|case| !lacking.contains(case));
    let promises = tried.map(|case| case.split('_').next().unwrap_or_default());
    let broken: BTreeSet<_> = MUTANTS.iter().map(|(_, case)| case.split('_').next().unwrap_or_default()).collect();
    let whole: Vec<_> = promises.filter(|promise| !broken.contains(promise)).collect();
    assert!(whole.is_empty(), "nobody breaks {whole:?}");
}
