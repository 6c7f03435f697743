//! Choices that a seed repeats.

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// With this many chances of a hundred.
    pub(crate) const fn percent(&mut self, chances: u64) -> bool {
        self.below(100) < chances
    }
}

/// The seed of a test: `name` in the environment, or a new one. It is printed, so that a failure can be repeated.
pub(crate) fn seed(name: &str) -> u64 {
    let seed = number(name).unwrap_or_else(|| {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        Random::new(u64::try_from(since.expect("a clock after 1970").as_nanos()).unwrap_or(1))
            .next()
            % 1_000_000_007
    });
    println!("seed {seed} (repeat with {name}={seed})");
    seed
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}
