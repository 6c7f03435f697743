//! What people type: sizes, times, and a resource's name as the word of confirmation.

use std::io::{BufRead, IsTerminal, Write};

use twindisk_control::units::{Bytes, Span};

use crate::{exit::Failure, out};

/// A size, for clap.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.parse::<Bytes>()
        .map(|bytes| bytes.0)
        .map_err(|error| error.to_string())
}

/// A time, for clap.
pub(crate) fn time(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<Span>()
        .map(|span| span.0)
        .map_err(|error| error.to_string())
}

/// What can lose data is confirmed by the name of the resource: with `--confirm NAME`, or typed at a terminal.
pub(crate) fn confirm(resource: &str, given: Option<&str>, what: &str) -> Result<(), Failure> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => {
            out::err!("{what}");
            out::to_errors(format_args!("Type the name of the resource to go on: "));
            let _ = std::io::stderr().flush();
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            read.map_err(Failure::error)?;
            line.trim().to_owned()
        }
        None => {
            return Err(Failure::Usage(format!(
                "{what} Confirm it with --confirm {resource}"
            )));
        }
    };
    if typed == resource {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{typed:?} is not the name of the resource ({resource}): nothing was done"
    )))
}
