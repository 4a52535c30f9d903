//! The user of the config: a supervisor that root started becomes this user, for good.
//!
//! A process changes its user in all its threads, or some of them stay root. The calls of the C
//! library, which `nix` makes, change all threads (nptl(7)); those of the kernel only one.

use std::{
    ffi::CString,
    fmt,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setuid};
use rustix::fs::{Access, access};
use service::private;

use crate::{config::UserConfig, error::Error};

/// The numbers of a user and its group.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Looks for the user of the config in the system.
    ///
    /// # Errors
    ///
    /// When there is no such user or group.
    pub(crate) fn find(UserConfig { name, group }: &UserConfig) -> Result<Self, Error> {
        let unknown =
            |key: &str, name: &str| Error::BadUser(format!("{key} = {name:?} is not known here"));
        let asked = |errno: nix::Error| Error::io("cannot ask for users")(errno.into());
        let user = User::from_name(name).map_err(asked)?.ok_or_else(|| unknown("user", name))?;
        let gid = match group {
            Some(name) => {
                let group = Group::from_name(name).map_err(asked)?;
                group.ok_or_else(|| unknown("userGroup", name))?.gid
            }
            None => user.gid,
        };
        if user.uid.is_root() {
            let what = format!("user = {name:?} is root, who gives up nothing");
            return Err(Error::BadUser(what));
        }
        Ok(Self { name: user.name, uid: user.uid, gid })
    }

    /// Whether this process can become this user, or is this user already.
    ///
    /// # Errors
    ///
    /// When it is another user, and not root.
    pub(crate) fn check_rights(&self) -> Result<(), Error> {
        if geteuid().is_root() || self.is_ours() {
            return Ok(());
        }
        let what = format!("only root can become the user {} ([supervisor] user)", self.name);
        Err(Error::cannot_start(what, "start it as root, or as that user, or remove user"))
    }

    fn is_ours(&self) -> bool {
        (geteuid(), getegid()) == (self.uid, self.gid)
    }

    /// Makes a directory for the user, while this process is root. It makes nothing below a
    /// directory of another user, who could lead it elsewhere with a link.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub(crate) fn make_directory(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        if !geteuid().is_root() || path.exists() {
            return Ok(());
        }
        let Some(above) = path.parent() else { return Ok(()) };
        let there = above.ancestors().find(|above| above.exists());
        if there.is_none_or(|there| there.metadata().is_ok_and(|there| there.uid() != 0)) {
            return Ok(());
        }
        create_passable(above)?;
        private::create_dir_all(&path)?;
        lchown(&path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Becomes the user in all threads: first the group, then the further groups, then the user.
    /// Nothing is left of the rights of root.
    ///
    /// # Errors
    ///
    /// When the system refuses, or a way back is left.
    pub(crate) fn become_it(&self) -> Result<(), Error> {
        self.check_rights()?;
        if self.is_ours() {
            return Ok(());
        }
        let name = CString::new(self.name.as_str()).unwrap_or_default();
        let change = || {
            setgid(self.gid)?;
            initgroups(&name, self.gid)?;
            setuid(self.uid)
        };
        let what = format!("cannot become the user {}", self.name);
        change().map_err(|errno| Error::io(what)(errno.into()))?;
        self.verify().map_err(|why| {
            let what = format!("the rights of root are not gone: {why}");
            Error::cannot_start(what, "start it as that user, and remove user")
        })
    }

    fn verify(&self) -> Result<(), String> {
        if setuid(Uid::from_raw(0)).is_ok() {
            return Err("root can be taken again".to_owned());
        }
        let threads = fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?;
        for thread in threads {
            let path = thread.map_err(|error| error.to_string())?.path().join("status");
            // A thread may end while we look.
            let Ok(status) = fs::read_to_string(&path) else { continue };
            if let Some(line) = rights_of_another(&status, self.uid.as_raw(), self.gid.as_raw()) {
                return Err(format!("{} has {line}", path.display()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "user {}", self.name)
    }
}

/// The line of `/proc/PID/status` that shows another user or group, or a right of root.
fn rights_of_another(status: &str, uid: u32, gid: u32) -> Option<&str> {
    let are_all = |numbers: &str, wanted: u32| {
        numbers.split_whitespace().all(|number| number.parse() == Ok(wanted))
    };
    status.lines().find(|line| match line.split_once(':') {
        Some(("Uid", uids)) => !are_all(uids, uid),
        Some(("Gid", gids)) => !are_all(gids, gid),
        Some(("CapPrm" | "CapEff", rights)) => rights.trim().chars().any(|c| c != '0'),
        _ => false,
    })
}

/// Makes a directory, and those above it, where they are missing. Others may pass through, to what
/// is theirs below, and see nothing.
fn create_passable(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// Makes the directory of files that are opened before this process becomes a user.
///
/// # Errors
///
/// Those of the system.
pub(crate) fn make_directory_above(file: &Path, user: Option<&UserConfig>) -> io::Result<()> {
    let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    if let (Some(_), Some(above)) = (user, directory.parent())
        && !above.as_os_str().is_empty()
    {
        create_passable(above)?;
    }
    private::create_dir_all(directory)
}

/// What lets this process, which is the user already, use a directory.
pub(crate) fn how_to_let_in(user: &UserConfig, directory: &Path) -> String {
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let above: Vec<PathBuf> = directory.ancestors().skip(1).map(Path::to_owned).collect();
    let mut above = above.iter().rev();
    match above.find(|above| access(*above, Access::EXEC_OK).is_err()) {
        Some(closed) => format!("let that user through: chmod o+x {}", closed.display()),
        None => {
            let group = user.group.as_deref().unwrap_or_default();
            format!("give it to that user: chown -R {}:{group} {}", user.name, directory.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, group: Option<&str>) -> UserConfig {
        UserConfig { name: name.to_owned(), group: group.map(str::to_owned) }
    }

    #[test]
    fn names_that_the_system_does_not_know_are_refused_and_so_is_root() {
        for (user, expected) in [
            (named("no-such-user", None), "user = \"no-such-user\" is not known here"),
            (named("nobody", Some("no-such")), "userGroup = \"no-such\" is not known here"),
            (named("root", None), "is root"),
        ] {
            let said = Account::find(&user).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(!Account::find(&named("nobody", None)).unwrap().uid.is_root());
    }

    #[test]
    fn a_thread_that_kept_a_right_is_found() {
        let status = |uids: &str, gids: &str, rights: &str| {
            format!("Name:\tx\nUid:\t{uids}\nGid:\t{gids}\nCapPrm:\t{rights}\nCapEff:\t0000\n")
        };
        let found = |uids: &str, gids: &str, rights: &str| {
            rights_of_another(&status(uids, gids, rights), 7, 8).map(str::to_owned)
        };
        assert_eq!(found("7\t7\t7\t7", "8\t8\t8\t8", "0000"), None);
        assert_eq!(found("7\t7\t0\t7", "8\t8\t8\t8", "0000").unwrap(), "Uid:\t7\t7\t0\t7");
        assert_eq!(found("7\t7\t7\t7", "8\t0\t8\t8", "0000").unwrap(), "Gid:\t8\t0\t8\t8");
        assert_eq!(found("7\t7\t7\t7", "8\t8\t8\t8", "0040").unwrap(), "CapPrm:\t0040");
    }
}
