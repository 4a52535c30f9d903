//! `event-worker run -d`: runs in the background. The program that was called waits until the one
//! in the background is up. If that ends instead, it shows the end of its log and ends with its
//! code.
//!
//! The one in the background is the same program, started again, in a session of its own. Its
//! standard input is a socket, into which it writes a byte when it is up.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::{
    fs::OFlags,
    stdio::{dup2_stdin, stdin},
};
use service::{exit::Exit, private, say};

use crate::{
    config::{Config, GroupChoice, UserConfig},
    error::Error,
    user::{self, Account},
};

/// How long the program may take until it is up.
const UP_DEADLINE: Duration = Duration::from_secs(30);

/// How much of the log is shown when it does not come up.
const MAX_SHOWN_LINES: usize = 15;

/// The files of a program in the background, where they are not those of the config.
#[derive(Clone, Debug, Default)]
pub struct BackgroundFiles {
    /// The file with its pid.
    pub pid: Option<PathBuf>,
    /// What it writes to standard output and standard error.
    pub log: Option<PathBuf>,
}

/// Starts `event-worker run` in the background, and waits until it is up. Call it before there is
/// a second thread.
///
/// # Errors
///
/// When the config is wrong, or the program ends instead.
pub fn start_in_background(
    file: &Path,
    groups: &GroupChoice,
    files: BackgroundFiles,
) -> Result<(), Error> {
    close_inherited();
    let config = Config::open(file)?.only(groups)?;
    config.user.as_ref().map(Account::find).transpose()?;
    let pid_file = files.pid.unwrap_or(config.pid_file);
    let log_file = files.log.unwrap_or(config.log_file);
    let failed = || Error::io(format!("cannot write the log {}", log_file.display()));
    let mut log = open_file(&log_file, config.user.as_ref()).map_err(failed())?;
    let before = log.seek(SeekFrom::End(0)).map_err(failed())?;
    let started = spawn((file, groups, &pid_file), &log);
    let (mut child, up) = started.map_err(Error::io("cannot start the program again"))?;
    let Err((what, exit)) = wait_until_up(&mut child, up) else {
        say!("event-worker started (pid {}, log {})", child.id(), log_file.display());
        return Ok(());
    };
    // The log can be read later, too.
    let _ = show_end_of(&log_file, before);
    Err(Error::NotStarted { what: format!("{what} (log {})", log_file.display()), exit })
}

/// Closes what this process inherited beside its standard input and outputs. Otherwise a lock or a
/// pipe of the caller stays open as long as the program runs.
fn close_inherited() {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<RawFd> =
        open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for inherited in open.into_iter().filter(|fd| *fd > 2) {
        // The list itself was open, too, and is not any more.
        let _ = nix::unistd::close(inherited);
    }
}

/// Opens a file to add to, and makes it where it is missing. A link would lead root, who may be the
/// one that opens it, to any other file.
fn open_file(path: &Path, user: Option<&UserConfig>) -> io::Result<File> {
    user::make_directory_above(path, user)?;
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    private::options().append(true).create(true).custom_flags(no_link).open(path)
}

/// Starts the program, and gives the socket over which it says that it is up.
fn spawn(
    (file, groups, pid_file): (&Path, &GroupChoice, &Path),
    log: &File,
) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut program = service::init::itself()?;
    program.arg("run").arg("--config").arg(file).arg("--in-background").arg(pid_file);
    for group in groups.names() {
        program.args(["-g", group]);
    }
    program.stdin(OwnedFd::from(theirs)).stdout(log.try_clone()?).stderr(log.try_clone()?);
    Ok((program.spawn()?, ours))
}

/// Waits for the program; else says how it ended, and how this one ends.
fn wait_until_up(child: &mut Child, mut up: UnixStream) -> Result<(), (String, Exit)> {
    let waited = up.set_read_timeout(Some(UP_DEADLINE)).and_then(|()| up.read_exact(&mut [0]));
    let error = match waited {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if error.kind() == ErrorKind::UnexpectedEof {
        let ended = child.wait().map(|status| (status.to_string(), exit_of(status)));
        return Err(ended.unwrap_or_else(|error| (error.to_string(), Exit::Internal)));
    }
    // It may have ended by now.
    let _ = child.kill();
    let _ = child.wait();
    Err((format!("it was not up after {UP_DEADLINE:?}, and is killed"), Exit::Refused))
}

fn exit_of(status: ExitStatus) -> Exit {
    let is = |exit: &Exit| status.code() == Some(exit.code().into());
    [Exit::Config, Exit::Refused].into_iter().find(is).unwrap_or(Exit::Internal)
}

fn show_end_of(log: &Path, before: u64) -> io::Result<()> {
    let mut log = File::open(log)?;
    log.seek(SeekFrom::Start(before))?;
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = lines[lines.len().saturating_sub(MAX_SHOWN_LINES)..].join("\n");
    shown.push('\n');
    io::stderr().write_all(shown.as_bytes())
}

/// The terminal of whoever called is no business of this process any more.
pub(crate) fn leave_terminal() {
    // It fails only for the leader of a process group, which is one of a session already.
    let _ = rustix::process::setsid();
}

/// Says to the one who waits that this program is up.
pub(crate) fn is_up() {
    // The one who waits may be gone.
    let _ = rustix::io::write(stdin(), b"\n");
    if let Ok(nothing) = File::open("/dev/null") {
        let _ = dup2_stdin(nothing);
    }
}

/// A file with the pid of this process, and beside it `FILE.id`, which says which process had that
/// pid then: the pid, when the process was started, and the boot (`scripts/process.sh`).
#[derive(Debug)]
pub(crate) struct PidFile {
    files: [(PathBuf, File); 2],
    is_ours: bool,
}

impl PidFile {
    /// Opens the files, which may still be those of another process.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn open(path: &Path, user: Option<&UserConfig>) -> Result<Self, Error> {
        let mut identity = OsString::from(path);
        identity.push(".id");
        let open = |path: PathBuf| open_file(&path, user).map(|file| (path, file));
        let what = format!("cannot write the pid file {}", path.display());
        let files = open(identity.into()).and_then(|identity| Ok([identity, open(path.into())?]));
        Ok(Self { files: files.map_err(Error::io(what))?, is_ours: false })
    }

    /// Writes the pid of this process, which is now the only one that may use the files.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn write(mut self) -> Result<Self, Error> {
        let pid = std::process::id();
        let write = |file: &mut File, text: String| {
            file.set_len(0)?;
            file.write_all(text.as_bytes())
        };
        let [(_, identity), (path, file)] = &mut self.files;
        let what = format!("cannot write the pid file {}", path.display());
        self.is_ours = true;
        identity_of(pid)
            .and_then(|text| write(identity, format!("{text}\n")))
            .and_then(|()| write(file, format!("{pid}\n")))
            .map_err(Error::io(what))?;
        Ok(self)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        for (path, file) in self.files.iter().rev() {
            // This process may have lost the right to remove files there. An empty one names
            // nobody.
            let _ = file.set_len(0);
            let _ = fs::remove_file(path);
        }
    }
}

/// Tells a process from all others that ever had its pid.
fn identity_of(pid: u32) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may have spaces. Its start is the 22nd field.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let started = fields.split_whitespace().nth(19).ok_or(ErrorKind::InvalidData)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(format!("{pid} {started} {}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_another_process_are_left_alone_and_our_own_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/x.pid");
        let read = || fs::read_to_string(&path).unwrap_or_default();
        let ours = PidFile::open(&path, None).unwrap().write().unwrap();
        let pid = std::process::id();
        assert_eq!(read(), format!("{pid}\n"));
        drop(PidFile::open(&path, None).unwrap());
        assert_eq!(read(), format!("{pid}\n"));
        let identity = fs::read_to_string(directory.path().join("run/x.pid.id")).unwrap();
        assert!(identity.starts_with(&format!("{pid} ")), "{identity}");
        assert_eq!(identity.split_whitespace().count(), 3, "{identity}");
        drop(ours);
        assert_eq!(fs::read_dir(directory.path().join("run")).unwrap().count(), 0);
    }
}
