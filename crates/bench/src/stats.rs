//! The clock, and the middle of many numbers.

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, in nanoseconds: the same one for all processes.
pub(crate) fn now() -> u64 {
    nanos_of(ClockId::Monotonic)
}

/// The processor time that this thread has used, in nanoseconds.
pub(crate) fn thread_cpu() -> u64 {
    nanos_of(ClockId::ThreadCPUTime)
}

fn nanos_of(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The value below which so many of a hundred lie; `None` of nothing.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: usize) -> Option<f64> {
    let values = sorted(values);
    let place = percent * values.len().checked_sub(1)?;
    let (below, above) = (values[place / 100], values[place.div_ceil(100)]);
    let weight = (place % 100) as f64 / 100.0;
    // Between two that never happened lies nothing.
    Some(if below < above { below + (above - below) * weight } else { below })
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    percentile(values, 50)
}

/// Between what two of `values` the median of all that could be measured lies, with 95 % certainty;
/// `None` if they are too few to tell.
///
/// It supposes nothing of how they are spread: each lies above that median or below, as a coin does.
pub(crate) fn interval(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let values = sorted(values);
    let throws = values.len() as f64;
    // That so few lie below, for 0, 1, 2 and so on.
    let mut likely = 0.5_f64.powf(throws);
    let mut sum = likely;
    let mut outside: usize = 0;
    while sum <= 0.025 {
        outside += 1;
        likely *= (throws - outside as f64 + 1.0) / outside as f64;
        sum += likely;
    }
    let low = outside.checked_sub(1)?;
    Some((values[low], values[values.len() - 1 - low]))
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_values_tell_no_interval() {
        let values = |n: u8| (0..n).map(f64::from);
        assert_eq!(interval(values(0)), None);
        assert_eq!(interval(values(5)), None);
        // From tables of the sign test: all of 6, the second to the eighth of 9, the sixth of 20.
        assert_eq!(interval(values(6)), Some((0.0, 5.0)));
        assert_eq!(interval(values(9)), Some((1.0, 7.0)));
        assert_eq!(interval(values(20)), Some((5.0, 14.0)));
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(percentile([1.0, 2.0, 3.0], 100), Some(3.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn what_never_happens_is_larger_than_all_else() {
        assert_eq!(median([f64::INFINITY, f64::INFINITY]), Some(f64::INFINITY));
    }
}
