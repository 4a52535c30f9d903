//! The scripts that write a row only if it is newer than the one that is there.

use std::sync::OnceLock;

use redis::Script;

/// Which script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptName {
    Rows,
    Hset,
    Delete,
}

/// The scripts that a server has been given by the commands before.
#[derive(Debug, Default)]
pub(super) struct Given([bool; 3]);

impl ScriptName {
    fn text(self) -> &'static str {
        match self {
            Self::Rows => include_str!("rows.lua"),
            Self::Hset => include_str!("hset.lua"),
            Self::Delete => include_str!("delete.lua"),
        }
    }

    fn hash(self) -> &'static str {
        static HASHES: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
        HASHES[self as usize].get_or_init(|| Script::new(self.text()).get_hash().to_owned())
    }
}

impl Given {
    /// The command with which a script is run: the first time with its text, which the server
    /// keeps; then with its hash. So no command finds that the server has forgotten the script,
    /// which would put the changes of a row out of order.
    pub(super) fn call(&mut self, name: ScriptName) -> redis::Cmd {
        let is_given = std::mem::replace(&mut self.0[name as usize], true);
        let mut call = redis::cmd(if is_given { "EVALSHA" } else { "EVAL" });
        call.arg(if is_given { name.hash() } else { name.text() });
        call
    }
}
