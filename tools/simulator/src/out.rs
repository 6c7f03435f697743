//! Standard output. A reader that has gone away (`| head`) wants no more: the program ends, quietly.

use std::{
    fmt,
    io::{self, Write},
    process,
};

/// A line on standard output, as `println!` has it, which panics when nobody reads.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => { $crate::out::text(format_args!("{}\n", format_args!($($words)*))) };
}

/// Writes to standard output.
pub fn text(words: fmt::Arguments<'_>) {
    match io::stdout().lock().write_fmt(words) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "writing to standard output: {error}");
            process::exit(1);
        }
    }
}
