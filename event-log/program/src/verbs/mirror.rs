//! `event-log mirror`: copies streams of another server, and serves the copies.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use event_log::{Client, CopyOf, Error, Log, Mirror, MirrorConfig, StorageConfig};
use service::{config, shutdown};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Failure,
    connect::{self, Config},
    serve,
};

/// What the command line says; the config has the same under `[mirror]` and `[storage]`.
#[derive(Args)]
pub(crate) struct MirrorArguments {
    /// The server whose streams are copied, as host:port, instead of `from` in the config.
    #[arg(long)]
    from: Option<String>,
    /// A stream to copy, instead of `streams` in the config; may be given several times.
    #[arg(long)]
    stream: Vec<String>,
    /// The directory of the copies, instead of that in the config.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Serve the copies at this host:port, instead of that in the config. Without a config file and
    /// without this, nothing is served.
    #[arg(long)]
    listen: Option<String>,
}

/// Copies until SIGTERM or SIGINT, or until something has to be settled by a human.
pub(crate) async fn run(arguments: MirrorArguments, path: &Path) -> Result<(), Failure> {
    let (mut mirror, server) = configured(&arguments, path)?;
    mirror.client.address = arguments.from.unwrap_or(mirror.client.address);
    if mirror.client.address.is_empty() {
        let problem = "which server's streams shall be copied is not said: give --from HOST:PORT, \
                       or set from under [mirror]";
        return Err(Error::Rejected(problem.to_owned()).into());
    }
    if mirror.client.address == server.listen.address {
        let problem = format!("from is {}, where the copies are served", server.listen.address);
        let problem = format!("{problem}: a server cannot copy itself");
        return Err(Error::Rejected(problem).into());
    }
    if !arguments.stream.is_empty() {
        mirror.streams = arguments.stream;
    }
    let stop = shutdown::on_signal().map_err(serve::no_signals)?;
    let log = Log::open(server.storage.clone())?;
    let client = Client::new(&mirror.client)?;
    let mut copies = JoinSet::new();
    // Named twice it is copied once.
    for stream in BTreeSet::from_iter(mirror.streams) {
        let of = CopyOf { address: mirror.client.address.clone(), stream };
        if log.is_promoted(&of)? {
            warn!(
                stream = of.stream,
                "it was promoted: it is served as a stream of its own, and copied no more"
            );
            continue;
        }
        let copy = Mirror::open(&log, client.clone(), of, mirror.options.clone())?;
        let stop = stop.clone();
        copies.spawn(async move { copy.run(&stop).await });
    }
    let serves = path.exists() || arguments.listen.is_some();
    // It is open as long as there are copies, also when it is not served.
    let served = log.clone();
    let served = async {
        if serves { serve::serve(served, server, path, stop.clone()).await } else { Ok(()) }
    };
    let (served, copied) = tokio::join!(served, all(copies, &stop, serves));
    drop(log);
    served.and(copied)
}

/// Waits for all copies. The first that fails stops the program; one that was promoted does not.
async fn all(
    mut copies: JoinSet<Result<(), Error>>,
    stop: &CancellationToken,
    serves: bool,
) -> Result<(), Failure> {
    while let Some(copied) = copies.join_next().await {
        let copied = copied.unwrap_or_else(|error| Err(Error::Failed(error.to_string())));
        if copied.is_err() {
            stop.cancel();
            return copied.map_err(Failure::from);
        }
    }
    if serves {
        // What was promoted is served on.
        stop.cancelled().await;
    }
    Ok(())
}

/// What the config says, where there is one; the command line counts more.
fn configured(
    arguments: &MirrorArguments,
    path: &Path,
) -> Result<(MirrorConfig, Config), config::Mistakes> {
    let is_told = arguments.from.is_some() && arguments.directory.is_some();
    let file = if is_told && !path.exists() {
        config::File::parse(path, "")?
    } else {
        config::File::open(path)?
    };
    let mirror = MirrorConfig::read(&file.root().section("mirror"));
    let mut server = connect::read_server(file.root());
    if let Some(directory) = &arguments.directory {
        server.storage = StorageConfig { directory: directory.clone(), ..server.storage };
    }
    if let Some(listen) = &arguments.listen {
        server.listen.address.clone_from(listen);
        // Without a config: another log of this machine may have the usual port.
        if let (false, Ok(free)) = (path.exists(), "127.0.0.1:0".parse()) {
            server.http.address = free;
        }
    }
    file.finish((mirror, server))
}
