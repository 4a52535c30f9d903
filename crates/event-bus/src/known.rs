//! What a bus knows of its groups, and how much room it has.

/// A group, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGroup {
    /// Its full name.
    pub name: String,
    /// Its members as they call themselves. Where only one can be active, that one alone.
    pub members: Vec<String>,
    /// Members that wait to take over from the active one.
    pub waiting: u32,
    /// Bytes that the bus keeps because the group has not finished them; `None` on a bus that
    /// waits for no group.
    pub held_bytes: Option<u64>,
}

/// How much lies on a bus that has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What lies there.
    pub bytes: u64,
    /// What it is kept below.
    pub max_bytes: u64,
}
