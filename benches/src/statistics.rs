//! Medians: the only averages that a noisy neighbour does not move.

/// The middle one; of an even number the mean of the two in the middle. Not a number when there are none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}

/// The median of the ratios of rounds: what is measured in one round met the same noise. (The ratio of medians would
/// compare rounds with each other that did not.)
#[must_use]
pub fn median_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| {
        if *theirs > 0.0 {
            ours / theirs
        } else {
            f64::NAN
        }
    }))
}

/// The value below which this part (0 to 1) of them lies. Not a number when there are none.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part).ceil() as usize;
    let index = index.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).is_nan());
        assert!((median([f64::NAN, 5.0]) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        // The machine was ten times slower in the second round, for both.
        let (ours, theirs) = ([200.0, 20.0, 240.0], [100.0, 10.0, 100.0]);
        assert!((median_ratio(&ours, &theirs) - 2.0).abs() < 1e-9);
        assert!(median_ratio(&[1.0], &[0.0]).is_nan());
    }

    #[test]
    fn quantiles() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        for (part, is) in [
            (0.5, 500.0),
            (0.99, 990.0),
            (0.999, 999.0),
            (1.0, 1000.0),
            (0.0, 1.0),
        ] {
            assert!((quantile(&values, part) - is).abs() < 1e-9, "{part}");
        }
        assert!(quantile(&[], 0.5).is_nan());
    }
}
