//! `event-log promote`: makes a copy a stream of its own.

use std::path::{Path, PathBuf};

use clap::Args;
use event_log::{Error, Log, StorageConfig};
use service::say;

use super::{
    Failure,
    connect::{Where, client},
};

/// Which copy.
#[derive(Args)]
pub(crate) struct PromoteArguments {
    #[command(flatten)]
    at: Where,
    /// The directory of the copy, where no mirror runs that could be asked.
    #[arg(long, conflicts_with = "address")]
    directory: Option<PathBuf>,
}

/// Promotes the copy, and says so.
pub(crate) async fn run(arguments: PromoteArguments, config: &Path) -> Result<(), Failure> {
    let PromoteArguments { at, directory } = arguments;
    let epoch = match directory {
        Some(directory) => {
            if !directory.is_dir() {
                let problem = format!("there is no directory {}", directory.display());
                return Err(Error::Rejected(problem).into());
            }
            let log = Log::open(StorageConfig::new(directory))?;
            let stream = log.known(&at.stream).ok_or_else(|| {
                Error::Rejected(format!("there is no stream {} in that directory", at.stream))
            })?;
            stream.promote().await?
        }
        None => client(config, &at)?.promote(&at.stream).await?,
    };
    say!(
        "stream {} takes appends now, in epoch {epoch}; what the old server took since, it has not: \
         make copies of this one, and let nobody append there",
        at.stream
    );
    Ok(())
}
