//! The keys `user` and `userGroup` of `[supervisor]`: as whom a program runs that root started.

use service::config::Section;

/// A user of the system, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserConfig {
    /// The user's name.
    pub name: String,
    /// The name of the group; the group that the user belongs to, if it is not set.
    pub group: Option<String>,
}

impl UserConfig {
    pub(super) fn read(supervisor: &Section) -> Option<Self> {
        let name: Option<String> = supervisor.optional("user");
        let group = supervisor.optional("userGroup");
        if name.is_none() && group.is_some() {
            supervisor.note("userGroup", "is set without user", "set user, too, or remove it");
        }
        Some(Self { name: name?, group })
    }
}
