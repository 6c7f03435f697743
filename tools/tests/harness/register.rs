//! A register as a node asks for it, whoever keeps it: of the resource `r0`, with what comes next.

use std::time::Duration;

use twindisk_etcd::Keeper;
use twindisk_witness::{Answer, Ask, Nonce, Question, Record, Reply, Version};

/// A person's patience, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The question of node 0.
pub(crate) fn question(known: Option<Version>, ask: Ask) -> Question {
    Question::Register {
        resource: "r0".to_owned(),
        node: Some(0),
        known,
        ask,
    }
}

/// The answer; without one: why.
pub(crate) fn asked(
    keeper: &dyn Keeper,
    known: Option<Version>,
    ask: Ask,
    patience: Duration,
) -> Result<Answer, String> {
    match keeper.ask(question(known, ask), patience) {
        Ok(Reply::Register { answer, .. }) => Ok(answer),
        Ok(Reply::List(_)) => Err("a list".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// The answer, if there is one.
pub(crate) fn ask(keeper: &dyn Keeper, known: Option<Version>, ask: Ask) -> Option<Answer> {
    asked(keeper, known, ask, PATIENCE).ok()
}

/// The record that follows, or the first one, with everybody in it; and the question that has it held.
pub(crate) fn next(from: Option<&Record>, nonce: u64) -> (Record, Ask) {
    let to = match from {
        Some(record) => record.next(Nonce(nonce), record.term + 1, vec![0, 1], 0),
        None => Record::first(Nonce(nonce), 1, vec![0, 1], 0),
    };
    let from = from.map(|record| record.stamp);
    let ask = Ask::Swap {
        from,
        to: to.clone(),
    };
    (to, ask)
}

/// Has the next record held.
pub(crate) fn swap(
    keeper: &dyn Keeper,
    from: Option<&Record>,
    nonce: u64,
) -> (Record, Option<Answer>) {
    let known = from.map(|record| record.stamp.version);
    let (to, next) = next(from, nonce);
    (to, ask(keeper, known, next))
}

/// Why no claim is answered.
pub(crate) fn refused(keeper: &dyn Keeper, known: Option<Version>, question: Ask) -> String {
    match ask(keeper, known, question) {
        Some(Answer::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}
