//! Deliberate bugs of a witness: the register itself has none, what keeps it has.

/// A deliberate bug of the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfWitness {
    /// See [`Self::what`].
    ForgetsItsFsync,
    /// See [`Self::what`].
    SetsWithoutComparing,
}

macro_rules! told {
    ($($name:ident: $rule:literal, $what:literal;)+) => {
        impl OfWitness {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The rule that it breaks.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)+ }
            }

            /// What it does, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)+ }
            }
        }
    };
}

told! {
    ForgetsItsFsync: "R8", "A witness answers before its record is durable, and comes back with an older one.";
    SetsWithoutComparing: "R8", "A witness sets what it is asked to, whatever it holds.";
}
