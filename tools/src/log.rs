//! Where the processes that stay log to, and how much.

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// Options of every process that stays.
#[derive(clap::Args, Debug)]
pub(crate) struct Log {
    /// Log as JSON, one object a line
    #[arg(long)]
    log_json: bool,
    /// What to log: error, warn, info, debug, or filters like `twindisk_control=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "TWINDISK_LOG",
        default_value = "info"
    )]
    log: String,
}

impl Log {
    /// From now on, to standard error.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(&self.log)
            .map_err(|error| Failure::Usage(format!("--log {:?}: {error}", self.log)))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // Where standard error is gone, saying so there panics, and the process that stays would be gone too.
            .log_internal_errors(false);
        if self.log_json {
            builder.json().init();
        } else {
            builder.with_ansi(false).init();
        }
        Ok(())
    }
}
