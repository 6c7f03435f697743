//! Which beats are believed.

use super::bench::*;
use crate::{Action, Beat, Level, Order};

/// A primary whose peer was shot and read as off, with the receipt under way.
fn shot() -> Bench {
    let mut bench = Bench::primary();
    bench.pass(DEAD);
    bench.view(frozen());
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.fenced();
    bench.acts();
    bench
}

#[test]
fn a_beat_is_taken_once_a_path() {
    let mut bench = Bench::primary();
    let beat = bench.next_beat();
    assert_eq!(bench.hear(0, &beat), Ok(()));
    assert!(bench.hear(0, &beat).is_err(), "sent again");
    assert_eq!(bench.hear(1, &beat), Ok(()), "the copy of the other path");
    let newer = bench.next_beat();
    assert_eq!(bench.hear(0, &newer), Ok(()));
    assert!(bench.hear(0, &beat).is_err(), "overtaken");
}

#[test]
fn an_overtaken_beat_of_a_slow_path_keeps_the_path_alive_and_says_nothing_new() {
    let mut bench = Bench::primary();
    let old = bench.next_beat();
    bench.said.leaving = true;
    let new = bench.next_beat();
    assert_eq!(bench.hear(0, &new), Ok(()));
    assert_eq!(bench.hear(1, &old), Ok(()));
    assert!(bench.agent.peers[BETA].beat.as_ref().expect("one").leaving);
}

#[test]
fn a_beat_of_or_for_another_node_is_refused() {
    let mut bench = Bench::primary();
    let mut foreign = bench.next_beat();
    foreign.from = 3;
    assert!(bench.hear(0, &foreign).is_err());
    let mut foreign = bench.next_beat();
    foreign.to = 3;
    assert!(bench.hear(0, &foreign).is_err());
}

#[test]
fn a_beat_over_a_path_that_is_not_configured_is_refused() {
    let mut bench = Bench::primary();
    let beat = bench.next_beat();
    assert!(bench.hear(2, &beat).is_err());
    assert_eq!(bench.hear(1, &beat), Ok(()));
}

#[test]
fn refused_beats_keep_nobody_alive() {
    let mut bench = Bench::primary();
    let beat = bench.next_beat();
    assert_eq!(bench.hear(0, &beat), Ok(()));
    bench.view(frozen());
    let mut foreign = beat.clone();
    foreign.from = 3;
    for _ in 0..DEAD / INTERVAL {
        bench.pass(INTERVAL);
        assert!(bench.hear(0, &beat).is_err());
        assert!(bench.hear(1, &foreign).is_err());
    }
    assert!(bench.acts().contains(&Action::Fence(BETA)));
}

#[test]
fn copies_of_what_was_heard_keep_nobody_alive_over_a_path_that_was_cut() {
    let mut bench = Bench::primary();
    let mut record = Vec::new();
    for _ in 0..40 {
        let beat = bench.next_beat();
        assert_eq!(bench.hear(0, &beat), Ok(()));
        record.push(beat);
        bench.pass(INTERVAL);
    }
    bench.view(frozen());
    for beat in &record {
        assert_eq!(bench.hear(1, beat), Ok(()));
        bench.pass(INTERVAL);
    }
    assert!(bench.acts().contains(&Action::Fence(BETA)));
}

#[test]
fn a_run_that_began_earlier_is_believed_only_if_it_has_heard_this_one() {
    let mut bench = Bench::primary();
    bench.said.boot = RUN + 1;
    bench.said.started -= 10;
    bench.said.echo = 0;
    let beat = bench.next_beat();
    assert!(
        bench.hear(0, &beat).is_err(),
        "could be a record of an old run"
    );
    bench.said.echo = ME;
    let beat = bench.next_beat();
    assert_eq!(bench.hear(0, &beat), Ok(()), "its clock was set back");
}

#[test]
fn a_run_that_has_ended_is_not_believed_again_even_if_it_had_heard_this_one() {
    let mut bench = Bench::primary();
    let old = bench.next_beat();
    assert_eq!(old.echo, ME);
    bench.new_run();
    bench.beat();
    assert!(bench.hear(0, &old).is_err(), "late, or a record");
    bench.beat();
}

#[test]
fn a_record_of_an_earlier_run_does_not_revive_a_node_that_is_off() {
    let mut bench = Bench::primary();
    let mut record = bench.next_beat();
    bench.new_run();
    bench.live(INTERVAL);
    bench.pass(DEAD);
    bench.view(frozen());
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.fenced();
    record.seq = 1_000_000;
    assert!(bench.hear(0, &record).is_err());
    assert!(bench.agent.peers[BETA].proof.is_some());
}

#[test]
fn a_beat_of_the_run_that_was_powered_off_does_not_revive_it() {
    let mut bench = shot();
    let late = bench.next_beat();
    assert!(bench.hear(0, &late).is_err());
    assert!(bench.agent.peers[BETA].proof.is_some());
}

#[test]
fn a_new_run_of_a_node_that_was_powered_off_is_heard() {
    let mut bench = shot();
    bench.new_run();
    bench.beat();
    assert!(bench.agent.peers[BETA].proof.is_none());
    assert!(bench.was_told(Level::Info, "beta is heard again"));
}

#[test]
fn a_node_that_comes_back_with_its_clock_set_back_is_heard_once_it_has_heard_this_one() {
    let mut bench = shot();
    bench.new_run();
    bench.said.started = 1;
    bench.said.echo = 0;
    let beat = bench.next_beat();
    assert!(bench.hear(0, &beat).is_err());
    bench.said.echo = ME;
    bench.beat();
    assert!(bench.agent.peers[BETA].proof.is_none());
}

#[test]
fn what_is_sent_says_whom_it_hears_and_over_which_paths() {
    let mut bench = Bench::new();
    bench.pass(INTERVAL);
    let silent = bench.sent.last().expect("a beat").clone();
    assert_eq!((silent.echo, silent.hears), (0, 0));
    let beat = bench.next_beat();
    assert_eq!(bench.hear(1, &beat), Ok(()));
    bench.pass(INTERVAL);
    let heard = bench.sent.last().expect("a beat").clone();
    assert_eq!((heard.echo, heard.hears), (RUN, 2));
    assert!(heard.seq > silent.seq);
    assert_eq!((heard.from, heard.to, heard.boot), (1, 2, ME));
    bench.pass(DEAD);
    let silent = bench.sent.last().expect("a beat").clone();
    assert_eq!((silent.echo, silent.hears), (0, 0));
}

#[test]
fn beats_go_out_at_the_pace_of_the_profile() {
    let mut bench = Bench::primary();
    bench.sent.clear();
    bench.pass(10 * INTERVAL);
    assert_eq!(bench.sent.len(), 10);
}

#[test]
fn a_node_that_was_said_to_be_off_and_connects_is_heard_again() {
    let mut bench = shot();
    let beat = bench.next_beat();
    assert!(bench.hear(0, &beat).is_err());
    let mut back = primary();
    back.met = 71;
    bench.view(back);
    bench.beat();
    assert!(bench.agent.peers[BETA].proof.is_none());
}

/// The agent was started anew, and somebody sends it what he has recorded before.
fn recorded(bench: &mut Bench, change: fn(&mut Beat)) -> Beat {
    let mut old = bench.next_beat();
    old.echo = ME - 1;
    change(&mut old);
    old
}

#[test]
fn a_goodbye_that_answers_nothing_keeps_nobody_from_being_fenced() {
    let goodbye = "it is a goodbye that answers nothing which this agent has sent lately";
    let mut bench = Bench::primary();
    bench.view(frozen());
    let old = recorded(&mut bench, |beat| beat.leaving = true);
    assert_eq!(bench.hear(0, &old), Err(goodbye));
    // Of this run, and so long ago that it may have been recorded.
    let mut late = bench.next_beat();
    late.leaving = true;
    bench.pass(DEAD + INTERVAL);
    assert_eq!(bench.hear(0, &late), Err(goodbye));
    assert!(bench.acts().contains(&Action::Fence(BETA)));
    // A number that was never sent is no answer, either.
    let mut invented = bench.next_beat();
    invented.leaving = true;
    invented.echo_seq = u64::MAX;
    assert_eq!(bench.hear(0, &invented), Err(goodbye));
    bench.said.leaving = true;
    bench.beat();
    assert!(bench.agent.peers[BETA].has_left(), "this one is");
}

#[test]
fn a_question_that_answers_nothing_is_not_answered() {
    for answers in [true, false] {
        let mut bench = Bench::standby();
        bench.view(orphan());
        bench.answers = answers;
        bench.said.echo_seq = 0;
        bench.said.resources[0].ask = Question::from(17);
        bench.beat();
        let order = bench.order();
        assert_eq!(order, answers.then_some(Order::Outdate { offline: false }));
    }
}

#[test]
fn what_is_sent_says_what_was_heard_last() {
    let mut bench = Bench::primary();
    bench.live(INTERVAL);
    bench.pass(INTERVAL);
    let last = bench.sent.last().expect("a beat");
    assert_eq!((last.echo, last.echo_seq), (RUN, bench.said.seq));
}
