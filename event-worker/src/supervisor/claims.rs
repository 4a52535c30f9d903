//! What a supervisor has for itself before it starts listeners, taken in this order: the ports, the
//! user that it runs as, the directory, and in the background the pid file.

use std::{fs::File, io::ErrorKind};

use service::{Listen, http::Guard};
use tokio::net::TcpListener;

use super::{Run, fleet::Accepted, socket};
use crate::{
    background::{self, PidFile},
    config::Config,
    error::Error,
    user::Account,
};

/// What is held until the supervisor ends. Whoever drops them drops the lock before the pid file,
/// so that the next one can start when the pid file is gone.
pub(super) struct Claims {
    pub(super) accepted: Accepted,
    pub(super) apis: Vec<(TcpListener, Guard)>,
    pub(super) pid_file: Option<PidFile>,
    pub(super) lock: File,
}

impl Claims {
    /// Takes all of it.
    ///
    /// # Errors
    ///
    /// When the config is wrong, or something is taken or forbidden.
    pub(super) async fn make(run: &Run) -> Result<Self, Error> {
        if run.pid_file.is_some() {
            background::leave_terminal();
        }
        let accepted = Accepted::open(&run.file, &run.groups)?;
        accepted.config.warn_of_old_names();
        let account = accepted.config.user.as_ref().map(Account::find).transpose()?;
        let bound = bind(&accepted.config).await;
        let pid_file =
            run.pid_file.as_deref().map(|path| PidFile::open(path, accepted.config.user.as_ref()));
        let pid_file = pid_file.transpose()?;
        let accepted = match &account {
            Some(account) => become_user(account, accepted, run)?,
            None => accepted,
        };
        let lock = socket::lock(&accepted.config)?;
        // If another event-worker has the ports and the directory, the directory says more.
        let apis = bound?;
        let pid_file = pid_file.map(PidFile::write).transpose()?;
        Ok(Self { accepted, apis, pid_file, lock })
    }
}

/// Becomes the user, and reads the config once more: a reload and the listeners must be able to
/// read the config and the files of its secrets as this user.
fn become_user(account: &Account, before: Accepted, run: &Run) -> Result<Accepted, Error> {
    account.check_rights()?;
    let directory = before.config.directory_of_all();
    let what = format!("cannot make the directory {} ([supervisor])", directory.display());
    account.make_directory(directory).map_err(Error::io(what))?;
    account.become_it()?;
    Accepted::open(&run.file, &run.groups).map_err(|error| {
        let remedy = "let that user read the config and the files of its secrets: chgrp and \
                      chmod g+r";
        Error::cannot_start(format!("as {account}: {error}"), remedy)
    })
}

async fn bind(config: &Config) -> Result<Vec<(TcpListener, Guard)>, Error> {
    let mut apis = Vec::new();
    for listen in config.listens() {
        let bound = listen.bind().await;
        apis.push(bound.map_err(|error| cannot_listen(config, &listen, error))?);
    }
    Ok(apis)
}

fn cannot_listen(config: &Config, Listen { address, .. }: &Listen, error: std::io::Error) -> Error {
    let of_group = config.group_addresses.iter().find(|(_, own)| *own == address);
    let table = match of_group {
        Some((group, _)) if *address != config.listen.address => format!("[groups.{group}]"),
        _ => "[listen]".to_owned(),
    };
    let what =
        format!("cannot listen on {address} ({table} in {}): {error}", config.path.display());
    let group = config.chosen().map(|(_, listener)| &listener.group).next();
    let remedy = match group {
        Some(group)
            if error.kind() == ErrorKind::AddrInUse
                && !config.groups.is_all()
                && table == "[listen]" =>
        {
            format!(
                "if another group of listeners runs there, give this group an address of its own: \
                 [groups.{group}] address = \"host:port\"; else make it available"
            )
        }
        _ => "make it available, or name another one in the config".to_owned(),
    };
    Error::cannot_start(what, remedy)
}
