//! The program `event-worker`: carries out its commands.

mod arguments;
mod aside;
mod called;
mod past;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser as _;
use event_worker::{
    BackgroundFiles, Error, FullSyncPart, FullSyncWish, GroupChoice, ResetMode, ResetPart, Run,
    SkippedRecord, Steer, TailRange, version,
};
use service::{exit::Exit, logging, shutdown};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, info, warn};

use self::arguments::{Arguments, Command, FullSyncVerb, GroupsVerb, ListenerVerb, RunForm};

fn main() -> ExitCode {
    service::memory::share_heaps();
    service::init::take_name();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Prints help on standard output, or a mistake on standard error. If that fails, we can
            // do nothing.
            let _ = error.print();
            return if error.use_stderr() { Exit::Config } else { Exit::Done }.into();
        }
    };
    logging::init();
    if let Some(code) = service::init::run_if_first() {
        return code;
    }
    if let Command::Run(form @ RunForm { detach: true, .. }) = arguments.command {
        return ended(detach(&arguments.config, form));
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start");
            return Exit::Internal.into();
        }
    };
    let outcome = runtime.block_on(carry_out(arguments));
    // A write to a full pipe cannot be cancelled, so we do not wait for it.
    runtime.shutdown_background();
    ended(outcome)
}

fn ended(outcome: Result<Exit, Error>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            error!("{error}; {}", error.remedy());
            error.exit().into()
        }
    }
}

fn detach(config: &Path, form: RunForm) -> Result<Exit, Error> {
    let files = BackgroundFiles { pid: form.pid_file, log: form.log_file };
    event_worker::start_in_background(config, &GroupChoice::new(form.groups), files)?;
    Ok(Exit::Done)
}

async fn carry_out(Arguments { command, config }: Arguments) -> Result<Exit, Error> {
    match command {
        Command::Run(RunForm { groups, in_background, .. }) => {
            info!(version = version::VERSION, commit = version::COMMIT, "event-worker starts");
            let groups = GroupChoice::new(groups);
            let run = Run { file: config, groups, pid_file: in_background };
            event_worker::supervise(run, stop_on_signal()?).await?;
        }
        Command::Listener { verb: Some(verb), called, .. } => {
            change((&config, &called.choice()), verb).await?;
        }
        Command::Listener { id, supervisor, .. } => {
            Box::pin(listen(&config, &id.unwrap_or_default(), supervisor)).await?;
        }
        Command::Check { form, groups } => {
            return event_worker::check(&config, &GroupChoice::new(groups), form.output()).await;
        }
        Command::Tail { table, from, count, until_end } => {
            let range = TailRange { from, count, until_end };
            event_worker::tail(&config, table.as_deref(), range, stop_on_signal()?).await?;
        }
        Command::Try { id } => {
            return event_worker::try_handler(&config, &id, std::io::stdin().lock()).await;
        }
        Command::Status { form, called } => {
            event_worker::show_status(&config, &called.choice(), form.output()).await?;
        }
        Command::Versions { form, called } => {
            event_worker::show_versions(&config, &called.choice(), form.output()).await?;
        }
        Command::Healthy { id, alive, called } => {
            event_worker::healthy(&config, &called.choice(), id.as_deref(), alive).await?;
        }
        Command::Groups { verb: GroupsVerb::List(form) } => {
            event_worker::list_groups(&config, form.output()).await?;
        }
        Command::Groups { verb: GroupsVerb::Forget { id, word, dry_run } } => {
            let listener = id.unwrap_or_else(|| old_form("groups forget", word));
            event_worker::forget_group(&config, &listener, mode(dry_run)).await?;
        }
        Command::Parked(form) => return form.carry_out(&config).await,
        Command::Rehearse(form) => return form.rehearse(&config, stop_on_signal()?).await,
        Command::Replay(form) => return form.replay(&config).await,
        Command::FullSync { verb, called } => {
            return full_sync((&config, &called.choice()), verb).await;
        }
    }
    Ok(Exit::Done)
}

async fn full_sync(
    (config, groups): (&Path, &GroupChoice),
    verb: FullSyncVerb,
) -> Result<Exit, Error> {
    let (id, wish) = match verb {
        FullSyncVerb::Start { id, table, word, pk, from, to, form } => {
            let (listener, table) = match id {
                Some(id) => (id, table),
                None => (old_form("full-sync start", table), word),
            };
            let part = FullSyncPart { table, key_column: pk, from, to };
            let asked = (config, groups);
            event_worker::start_full_sync(asked, &listener, part, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::List(form) => {
            event_worker::list_full_syncs(config, groups, form.output()).await?;
            return Ok(Exit::Done);
        }
        FullSyncVerb::Watch { id } => {
            return event_worker::watch_full_syncs(config, groups, id.as_deref()).await;
        }
        FullSyncVerb::Pause { id } => (id, FullSyncWish::Pause),
        FullSyncVerb::Resume { id } => (id, FullSyncWish::Resume),
        FullSyncVerb::Cancel { id } => (id, FullSyncWish::Cancel),
    };
    event_worker::wish_full_sync(config, groups, &id, wish).await?;
    Ok(Exit::Done)
}

/// The id of a listener in the old form, without -t: the first word of the command.
fn old_form(command: &str, word: Option<String>) -> String {
    let id = word.unwrap_or_default();
    warn!("a listener without -t is the old form; write event-worker {command} -t {id} instead");
    id
}

async fn listen(config: &Path, id: &str, supervisor: Option<PathBuf>) -> Result<(), Error> {
    let stop = stop_on_signal()?;
    let span = error_span!("listener", id);
    match supervisor {
        Some(socket) => {
            Box::pin(event_worker::run_supervised(&socket, id, stop).instrument(span)).await
        }
        None => event_worker::run_alone(config, id, stop).instrument(span).await,
    }
}

async fn change((config, groups): (&Path, &GroupChoice), verb: ListenerVerb) -> Result<(), Error> {
    let (id, steer) = match verb {
        ListenerVerb::Reset { id, to, topic, partition, dry_run } => {
            let part = ResetPart { topic, partition };
            let (asked, mode) = ((config, groups), mode(dry_run));
            return event_worker::reset_listener(asked, &id, (to, part), mode).await;
        }
        ListenerVerb::Skip { id, topic, partition, offset, dry_run } => {
            let record = SkippedRecord { topic, partition, offset };
            let (asked, mode) = ((config, groups), mode(dry_run));
            return event_worker::skip_record(asked, &id, record, mode).await;
        }
        ListenerVerb::Restart { id } => (id, Steer::Restart),
        ListenerVerb::Retry { id } => (id, Steer::Retry),
    };
    event_worker::steer_listener(config, groups, &id, steer).await
}

fn mode(dry_run: bool) -> ResetMode {
    if dry_run { ResetMode::DryRun } else { ResetMode::Set }
}

fn stop_on_signal() -> Result<CancellationToken, Error> {
    shutdown::on_signal()
        .map_err(|source| Error::Io { what: "cannot register for signals".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_listener_is_named_by_a_flag_and_the_old_form_is_taken() {
        Arguments::command().debug_assert();
        let start = |line: &str| match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Command::FullSync { verb: FullSyncVerb::Start { id, table, word, .. }, .. } => {
                [id, table, word].map(Option::unwrap_or_default)
            }
            _ => panic!("{line}"),
        };
        assert_eq!(start("event-worker full-sync start -t a"), ["a", "", ""]);
        assert_eq!(start("event-worker full-sync start x --id a --json"), ["a", "x", ""]);
        assert_eq!(start("event-worker full-sync start a x"), ["", "a", "x"]);
        for line in
            ["full-sync start", "full-sync start -t a x y", "groups forget", "groups forget a -t b"]
        {
            let line = format!("event-worker {line}");
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
