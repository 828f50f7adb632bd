//! Two pieces of work by turns, so that whatever disturbs one disturbs the other.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long one turn takes: long beside the clock's own cost, short beside a change of the machine's speed.
const TURN: Duration = Duration::from_millis(4);
/// Turns that are made however short the time is.
const FEWEST: usize = 5;

/// Work that can be done so many times, and says how much of this core's time that took.
pub(crate) type Work<'a> = Box<dyn FnMut(u32) -> Duration + 'a>;

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// How often per second of one core the first piece of work is done: the median of the turns.
    pub(crate) per_second: f64,
    /// The same for the second piece.
    pub(crate) limit_per_second: f64,
    /// The first rate in terms of the second: the median over pairs of turns, of which both saw the same machine.
    pub(crate) ratio: f64,
}

/// Does both by turns for `time`, after a turn each that is not counted.
pub(crate) fn beside(mut work: Work<'_>, mut limit: Work<'_>, time: Duration) -> Outcome {
    let (of_work, of_limit) = (repetitions(&mut work), repetitions(&mut limit));
    let each = |took: Duration, times: u32| took.as_secs_f64().max(f64::EPSILON) / f64::from(times);
    let (mut costs, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let start = cpu_time();
    while ratios.len() < FEWEST || cpu_time().saturating_sub(start) < time {
        let (cost, least) = (each(work(of_work), of_work), each(limit(of_limit), of_limit));
        costs.push(cost);
        limits.push(least);
        ratios.push(least / cost);
    }
    Outcome { per_second: 1.0 / median(costs), limit_per_second: 1.0 / median(limits), ratio: median(ratios) }
}

/// Does `work` so many times, and says how much of this core's time that took.
pub(crate) fn timed(times: u32, mut work: impl FnMut()) -> Duration {
    let start = cpu_time();
    for _ in 0..times {
        work();
    }
    cpu_time().saturating_sub(start)
}

/// The time for which this thread ran. Other programs on the machine do not count, however busy they are.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How many times fill a turn.
fn repetitions(work: &mut Work<'_>) -> u32 {
    let mut times = 1;
    loop {
        let took = work(times);
        if took >= TURN || times >= 1 << 20 {
            return times;
        }
        times *= 2;
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_costs_twice_its_limit_has_a_ratio_of_a_half() {
        let costs = |micros: u64| Box::new(move |times| Duration::from_micros(micros) * times) as Work<'_>;
        let outcome = beside(costs(200), costs(100), Duration::ZERO);
        assert!((outcome.ratio - 0.5).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.per_second - 5_000.0).abs() < 1e-6, "{outcome:?}");
    }

    #[test]
    fn one_turn_that_was_disturbed_does_not_move_the_ratio() {
        let mut turn = 0;
        let disturbed = Box::new(move |times: u32| {
            turn += 1;
            Duration::from_micros(if turn == 9 { 100_000 } else { 100 }) * times
        });
        let steady = Box::new(|times: u32| Duration::from_micros(100) * times);
        assert!((beside(disturbed, steady, Duration::ZERO).ratio - 1.0).abs() < 1e-9);
    }
}
