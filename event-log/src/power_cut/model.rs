//! A disk in memory: what is durable of each file and directory, what was changed since, and what
//! of that a power cut may leave.

use std::{collections::BTreeMap, fs, path::Path};

use rand::{RngExt, rngs::StdRng};

use crate::disk::watched::Made;

/// A file or a directory, whatever it is called.
#[derive(Clone, Debug)]
enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

#[derive(Clone, Debug, Default)]
struct FileNode {
    durable: Vec<u8>,
    /// What a reader saw at the last sync, if that failed: it may not be what is durable.
    seen: Option<Vec<u8>>,
    pending: Vec<FileChange>,
}

#[derive(Clone, Debug)]
enum FileChange {
    Write { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

#[derive(Clone, Debug, Default)]
struct DirectoryNode {
    durable: BTreeMap<String, usize>,
    seen: BTreeMap<String, usize>,
    /// With the number of the change, among all changes of the disk.
    pending: Vec<(usize, NameChange)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    Rename { from: String, to: String, node: usize },
}

/// A disk; the first node is its root.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    changes: usize,
}

/// What the cut does to what was not synced.
#[derive(Clone, Copy, Debug)]
struct Tear {
    sector_bytes: usize,
    /// How likely a change arrives.
    arrives: f64,
    /// Names change in order, up to this change: a journal. `None`: any of them.
    names_until: Option<usize>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::Directory(DirectoryNode::default())], changes: 0 }
    }

    pub(crate) fn make(&mut self, path: &Path, made: &Made, random: &mut StdRng) {
        self.changes += 1;
        match made {
            Made::Directory => self.add(path, Node::Directory(DirectoryNode::default())),
            Made::File => self.add(path, Node::File(FileNode::default())),
            Made::Write { at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                self.file(path).pending.push(FileChange::Write { at, bytes: bytes.clone() });
            }
            Made::Cut { bytes } => {
                let bytes = usize::try_from(*bytes).unwrap();
                self.file(path).pending.push(FileChange::Cut(bytes));
            }
            Made::Sync => self.file(path).sync(),
            Made::FailedSync => self.file(path).fail_sync(random),
            Made::SyncDirectory => {
                let directory = self.directory(path);
                directory.durable.clone_from(&directory.seen);
                directory.pending.clear();
            }
            Made::RenamedTo(to) => {
                let node = self.find(path);
                let (from, to) = (name(path), name(to));
                self.rename(path, NameChange::Rename { from, to, node });
            }
            Made::Deleted => self.rename(path, NameChange::Remove(name(path))),
            Made::DeletedDirectory => {
                let names: Vec<String> = self.directory(path).seen.keys().cloned().collect();
                for within in names {
                    self.rename(&path.join(&within), NameChange::Remove(within.clone()));
                }
                self.rename(path, NameChange::Remove(name(path)));
            }
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        self.rename(path, NameChange::Add(name(path), self.nodes.len() - 1));
    }

    fn rename(&mut self, path: &Path, change: NameChange) {
        let number = self.changes;
        let parent = self.directory(path.parent().unwrap());
        change.apply(&mut parent.seen);
        parent.pending.push((number, change));
    }

    fn find(&mut self, path: &Path) -> usize {
        let mut at = 0;
        for part in path {
            let Node::Directory(directory) = &self.nodes[at] else { panic!("{path:?}") };
            let name = part.to_str().unwrap();
            at = *directory.seen.get(name).unwrap_or_else(|| panic!("{path:?} is not there"));
        }
        at
    }

    fn directory(&mut self, path: &Path) -> &mut DirectoryNode {
        let at = self.find(path);
        match &mut self.nodes[at] {
            Node::Directory(directory) => directory,
            Node::File(_) => panic!("{path:?} is a file"),
        }
    }

    fn file(&mut self, path: &Path) -> &mut FileNode {
        let at = self.find(path);
        match &mut self.nodes[at] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("{path:?} is a directory"),
        }
    }

    /// What the disk holds after a power cut.
    pub(crate) fn cut(&self, random: &mut StdRng) -> Self {
        let tear = Tear {
            sector_bytes: if random.random_bool(0.5) { 512 } else { 4096 },
            arrives: [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)],
            names_until: random
                .random_bool(0.5)
                .then(|| self.changes.saturating_sub(random.random_range(0..6))),
        };
        let nodes = self.nodes.iter().map(|node| match node {
            Node::File(file) => {
                let durable = file.torn(tear, random);
                Node::File(FileNode { durable, ..FileNode::default() })
            }
            Node::Directory(directory) => {
                let names = directory.torn(tear, random);
                let (durable, seen) = (names.clone(), names);
                Node::Directory(DirectoryNode { durable, seen, pending: Vec::new() })
            }
        });
        Self { nodes: nodes.collect(), changes: 0 }
    }

    /// Writes what a reader sees now into a directory.
    pub(crate) fn write_to(&self, root: &Path) {
        self.write_node(0, root);
    }

    fn write_node(&self, at: usize, path: &Path) {
        match &self.nodes[at] {
            Node::File(file) => fs::write(path, file.visible()).unwrap(),
            Node::Directory(directory) => {
                fs::create_dir_all(path).unwrap();
                for (name, node) in &directory.seen {
                    self.write_node(*node, &path.join(name));
                }
            }
        }
    }
}

impl FileNode {
    fn visible(&self) -> Vec<u8> {
        let mut content = self.seen.as_ref().unwrap_or(&self.durable).clone();
        self.pending.iter().for_each(|change| change.apply(&mut content));
        content
    }

    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let Some(seen) = &mut self.seen else {
            pending.iter().for_each(|change| change.apply(&mut self.durable));
            return;
        };
        // Only what was changed since is written.
        for change in &pending {
            change.apply(seen);
            change.apply(&mut self.durable);
        }
    }

    fn fail_sync(&mut self, random: &mut StdRng) {
        let seen = self.visible();
        let arrives = random.random_range(0.0..1.0);
        let tear = Tear { sector_bytes: 4096, arrives, names_until: None };
        self.durable = self.torn(tear, random);
        self.seen = Some(seen);
        self.pending.clear();
    }

    /// Each sector is that of some moment since the last sync, and so is the length.
    fn torn(&self, tear: Tear, random: &mut StdRng) -> Vec<u8> {
        let mut versions = vec![self.durable.clone()];
        for change in &self.pending {
            let mut next = versions.last().unwrap().clone();
            change.apply(&mut next);
            versions.push(next);
        }
        let last = versions.len() - 1;
        let choose = |random: &mut StdRng| match last {
            0 => 0,
            _ if random.random_bool(tear.arrives) => last,
            _ => random.random_range(0..last),
        };
        let mut length = versions[choose(random)].len();
        let longest = versions.iter().map(Vec::len).max().unwrap();
        if last > 0 && random.random_bool(0.3) {
            // A file grows page by page.
            let shortest = versions.iter().map(Vec::len).min().unwrap();
            let between = random.random_range(shortest..=longest);
            length = (between - between % tear.sector_bytes).max(shortest);
        }
        let mut torn = vec![0; length];
        for start in (0..length).step_by(tear.sector_bytes) {
            let version = &versions[choose(random)];
            let end = (start + tear.sector_bytes).min(length);
            let has = end.min(version.len()).max(start);
            if has > start {
                torn[start..has].copy_from_slice(&version[start..has]);
            }
        }
        torn
    }
}

impl FileChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Cut(bytes) => content.resize(*bytes, 0),
        }
    }
}

impl DirectoryNode {
    fn torn(&self, tear: Tear, random: &mut StdRng) -> BTreeMap<String, usize> {
        let mut names = self.durable.clone();
        for (number, change) in &self.pending {
            let arrives = match tear.names_until {
                Some(until) => *number <= until,
                None => random.random_bool(tear.arrives),
            };
            if arrives {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
