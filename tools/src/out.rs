//! Standard output and standard error. A reader that has gone away (`| head`) wants no more: that is no error, and what is
//! being done is done to its end. What could not be written for another reason is told at the end.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use crate::exit::Failure;

/// The first error of standard output that matters.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// A line on standard output, as `println!` has it, which panics when nobody reads.
macro_rules! say {
    () => { $crate::out::text(format_args!("\n")) };
    ($($words:tt)*) => { $crate::out::text(format_args!("{}\n", format_args!($($words)*))) };
}

/// A line on standard error, likewise.
macro_rules! err {
    ($($words:tt)*) => { $crate::out::to_errors(format_args!("{}\n", format_args!($($words)*))) };
}

pub(crate) use {err, say};

/// Writes to standard output.
pub(crate) fn text(words: fmt::Arguments<'_>) {
    note(io::stdout().lock().write_fmt(words));
}

/// Writes to standard error. Where that is gone too, nobody can be told.
pub(crate) fn to_errors(words: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(words);
}

/// Writes bytes to standard output; whether somebody still reads.
pub(crate) fn bytes(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    let result = out.write_all(bytes).and_then(|()| out.flush());
    let read = result.is_ok();
    note(result);
    read
}

/// The end of the command: whether everything was written.
pub(crate) fn end() -> Result<(), Failure> {
    note(io::stdout().lock().flush());
    match FAILED.get() {
        None => Ok(()),
        Some(error) => Err(Failure::error(format!(
            "writing to standard output: {error}"
        ))),
    }
}

fn note(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = FAILED.set(error);
    }
}
