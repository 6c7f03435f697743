//! The demo with agents: the primary freezes, and nobody has to do anything.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use twindisk_core::Role;

use super::{
    book::Book,
    load::{self, Ended, Gauge},
    pair::{Pair, Which},
    story::{self, Decides, Plan, Teller},
};
use crate::exit::Failure;

pub(super) fn act(plan: &Plan, say: &Teller, pair: &mut Pair) -> Result<(), Failure> {
    let (alpha, beta) = (Which::Alpha, Which::Beta);
    for which in [alpha, beta] {
        let serve = pair.start(which)?;
        let agent = pair.start_agent(which)?;
        say.line(&format!(
            "{}: `serve` (pid {serve}) and `agent` (pid {agent})",
            which.name()
        ));
    }
    pair.until(alpha, "primary, and open for clients", |status| {
        status.role == Role::Primary && status.export_open
    })?;
    say.line("the agents agree that alpha, which has the data, is primary");
    story::in_sync(pair, alpha)?;
    say.line(&format!(
        "beta is in sync: {}",
        story::resynced(pair, alpha)?
    ));

    let mut book = Book::default();
    say.line("a client writes on alpha: 32 requests in flight, a flush after every 100 writes, reads in between");
    let open = frozen_under_load(plan, say, pair, &mut book)?;
    let failover = pair.agent(beta)?.status.failovers.pop();
    if let Some(failover) = failover {
        say.line(&format!(
            "beta has taken over by itself, by {}",
            failover.receipt
        ));
    }
    let seconds = open.as_secs_f64();
    say.line(&format!(
        "from the freeze to a device that is open again: {seconds:.1} s ({})",
        match plan.decides {
            Decides::Witness => "2 s of silence make a node suspect, and it was silent to the witness, too",
            Decides::Switch | Decides::Person =>
                "2 s of silence make a node suspect, and as its power still read on, it had 3 s to shoot first if it lived",
        }
    ));
    story::verify(say, pair, beta, &mut book)?;

    say.line("the client goes on, on beta");
    story::load_for(plan, say, pair, beta, &mut book, 1)?;
    if plan.decides == Decides::Switch {
        pair.await_power(alpha)?;
        pair.start(alpha)?;
        pair.start_agent(alpha)?;
        say.line("beta's agent has switched alpha on again: it boots, and finds that it is behind");
    }
    story::in_sync(pair, beta)?;
    say.line(&format!(
        "alpha is in sync again: {}",
        story::resynced(pair, beta)?
    ));
    story::verify(say, pair, beta, &mut book)?;

    if !plan.keep {
        pair.stop_agents()?;
        story::end(say, pair)?;
    }
    say.proved(&book);
    Ok(())
}

/// A client writes on alpha until that freezes, and is cut off when it is powered off, or finds that it is primary no more.
/// Returns how long it took from the freeze until beta was open.
fn frozen_under_load(
    plan: &Plan,
    say: &Teller,
    pair: &mut Pair,
    book: &mut Book,
) -> Result<Duration, Failure> {
    let uri = pair.uri(Which::Alpha)?;
    let gauge = Arc::new(Gauge::default());
    let (size_blocks, seed) = (plan.size_blocks, plan.seed);
    let (ended, open) = thread::scope(|scope| {
        let client = scope.spawn(|| load::run(&uri, book, size_blocks, seed, &gauge));
        // Somewhere in the second half of the time, derived from the seed.
        let part = 0.5 + (seed % 1000) as f64 / 2000.0;
        thread::sleep(plan.load.mul_f64(part));
        let open = taken_over(plan, say, pair);
        if open.is_err() {
            // Nobody else ends the client.
            let _ = pair.kill(Which::Alpha);
        }
        (client.join(), open)
    });
    let open = open?;
    let how = match plan.decides {
        Decides::Witness => "alpha has closed its device",
        Decides::Switch | Decides::Person => "the power switch has killed alpha",
    };
    match ended.map_err(|_| Failure::error("the client panicked"))?? {
        Ended::Cut(why) => say.line(&format!(
            "{how} ({why}); {} writes and {} flushes were acknowledged, {} writes have no answer",
            book.acknowledged,
            book.flushes,
            book.unanswered()
        )),
        Ended::Told => return Err(Failure::error("the client ended before alpha did")),
    }
    Ok(open)
}

/// Alpha stands still, and beta takes over.
fn taken_over(plan: &Plan, say: &Teller, pair: &mut Pair) -> Result<Duration, Failure> {
    let (alpha, beta) = (Which::Alpha, Which::Beta);
    pair.freeze(alpha)?;
    let frozen = Instant::now();
    say.line(
        "SIGSTOP: alpha stands still in the middle of it, agent and all, like a host that hangs",
    );
    if plan.decides == Decides::Switch {
        pair.await_death(alpha)?;
    }
    pair.until(beta, "primary, and open for clients", |status| {
        status.role == Role::Primary && status.export_open
    })?;
    let open = frozen.elapsed();
    if plan.decides == Decides::Witness {
        pair.thaw(alpha)?;
        say.line("SIGCONT: alpha, which nobody has killed, goes on, and finds that it is primary no more");
    }
    Ok(open)
}
