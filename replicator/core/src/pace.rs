//! How fast a resync or verify goes: as fast as it can while nobody else wants the disks; beside clients a few blocks at
//! a time, with a pause after them that is twice as long as they took.
//!
//! So each sweep has a third of the time. A share needs to know neither what the disks can do nor how long requests take
//! without a sweep: what takes long, because a disk is slow or because clients keep it busy, is paid for with a longer
//! pause. (The latency of clients' writes could be watched instead. What is usual for them was never known:
//! it depends on what they ask for, and reads and flushes are slowed down as well.) Time on the way to a distant peer is
//! nobody's loss: the pause is also bounded by a multiple of the time on the local disk.

use core::time::Duration;

use crate::{Time, limits::SWEEP_BLOCKS};

/// When a sweep begins its next step, and how large that is.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rests_until: Time,
    /// Blocks of a turn, and what is left of them in the present one.
    turn_blocks: u32,
    blocks_left: u32,
    steps_left: u32,
    /// When the first step of the turn had its range.
    began: Option<Time>,
    /// What the turn's steps took on the local disk.
    on_disk: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rests_until: Time(0),
            turn_blocks: SMALL_TURN_BLOCKS,
            blocks_left: SMALL_TURN_BLOCKS,
            steps_left: TURN_STEPS,
            began: None,
            on_disk: Duration::ZERO,
        }
    }
}

impl Pace {
    /// The most blocks of a step that may begin now; `None` while none may.
    pub(crate) fn next(&self, now: Time, clients_work: bool) -> Option<u32> {
        if !clients_work {
            return Some(SWEEP_BLOCKS);
        }
        let open = self.blocks_left > 0 && self.steps_left > 0 && now >= self.rests_until;
        open.then_some(self.blocks_left)
    }

    /// A step of so many blocks begins.
    pub(crate) fn begins(&mut self, blocks: u32) {
        self.blocks_left = self.blocks_left.saturating_sub(blocks);
        self.steps_left = self.steps_left.saturating_sub(1);
    }

    /// A step has its range for itself. To wait for that is no work.
    pub(crate) fn has_range(&mut self, now: Time) {
        self.began.get_or_insert(now);
    }

    /// The local disk worked so long for a step.
    pub(crate) fn was_on_disk(&mut self, time: Duration) {
        self.on_disk += time;
    }

    /// The last step that was under way is done: the turn is over.
    pub(crate) fn ends(&mut self, now: Time) {
        let took = self.began.map_or(Duration::ZERO, |began| now.since(began));
        let pause = (2 * took).min(8 * self.on_disk).min(LONGEST_PAUSE);
        let long = LONG_TURN * (self.turn_blocks / SMALL_TURN_BLOCKS);
        let turn_blocks = if took < long {
            SMALL_TURN_BLOCKS
        } else {
            SWEEP_BLOCKS
        };
        *self = Self {
            rests_until: now + pause,
            turn_blocks,
            blocks_left: turn_blocks,
            ..Self::default()
        };
    }

    /// When the pause ends, if there is one.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        (self.rests_until > now).then_some(self.rests_until)
    }
}

/// Clients count as working for so long after one of their requests was under way.
pub(crate) const CLIENTS_LINGER: Duration = Duration::from_secs(1);

/// A pause is never longer: whatever clients do, a sweep comes to its end.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// 256 KiB: a client's request behind them waits for a fraction of a millisecond, where disks are fast.
const SMALL_TURN_BLOCKS: u32 = 64;

/// Dirty blocks lie scattered: so many runs of them may be in one turn.
const TURN_STEPS: u32 = 4;

/// A small turn that takes so long waits for a slow disk's head or a distant peer, and a larger one takes hardly longer.
const LONG_TURN: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One turn of one step that uses up what it may, beside clients.
    fn turn(pace: &mut Pace, begins: u64, took: u64, on_disk: u64) {
        let blocks = pace.next(at(begins), true).expect("it may begin");
        pace.begins(blocks);
        assert_eq!(pace.next(at(begins), true), None, "no more in this turn");
        pace.has_range(at(begins));
        pace.was_on_disk(ms(on_disk));
        pace.ends(at(begins + took));
    }

    #[test]
    fn nobody_is_waited_for_while_clients_are_silent() {
        let mut pace = Pace::default();
        turn(&mut pace, 10, 3, 3);
        assert_eq!(pace.next(at(13), false), Some(SWEEP_BLOCKS));
    }

    #[test]
    fn beside_clients_a_pause_is_twice_as_long_as_what_was_done() {
        let mut pace = Pace::default();
        turn(&mut pace, 1, 3, 1);
        assert_eq!(pace.deadline(at(4)), Some(at(10)));
        assert_eq!(pace.next(at(9), true), None);
        assert_eq!(pace.next(at(10), true), Some(SMALL_TURN_BLOCKS));
        assert_eq!(pace.deadline(at(10)), None, "nobody is woken for nothing");
    }

    #[test]
    fn scattered_blocks_go_a_few_at_a_time() {
        let mut pace = Pace::default();
        for left in [64, 63, 61, 60] {
            assert_eq!(pace.next(at(1), true), Some(left));
            pace.begins(if left == 63 { 2 } else { 1 });
        }
        assert_eq!(pace.next(at(1), true), None);
    }

    #[test]
    fn what_is_slow_goes_in_large_pieces_until_it_is_no_more() {
        let mut pace = Pace::default();
        turn(&mut pace, 0, 5, 5);
        assert_eq!(pace.next(at(15), true), Some(SWEEP_BLOCKS));
        turn(&mut pace, 20, 17, 17);
        assert_eq!(pace.next(at(100), true), Some(SWEEP_BLOCKS));
        turn(&mut pace, 100, 15, 15);
        let next = pace.next(at(200), true);
        assert_eq!(next, Some(SMALL_TURN_BLOCKS), "a quarter would be quick");
    }

    #[test]
    fn distance_and_standstills_cost_no_pause() {
        let mut pace = Pace::default();
        turn(&mut pace, 100, 40, 1);
        assert_eq!(pace.deadline(at(140)), Some(at(148)), "it was far away");
        turn(&mut pace, 200, 50_000, 50_000);
        assert_eq!(pace.deadline(at(50_200)), Some(at(50_300)));
    }
}
