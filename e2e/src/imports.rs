//! The imports between the files of one crate, and the circles that they make.
//!
//! A name is followed through re-exports to the file that defines it. A file and the files in its
//! own folder are one family: imports inside a family are not counted. Nor are those of unit tests.

mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use self::source::Source;

/// How many re-exports a name is followed through, so that re-exports in a circle have an end.
const MAX_REEXPORTS: usize = 8;

/// The names of a module, from the root of the crate on.
type Module = Vec<String>;

/// What each file needs from which other, and the path that it says so with.
type Needs<'a> = BTreeMap<&'a Module, BTreeMap<&'a Module, String>>;

/// The files of one crate.
#[derive(Debug)]
pub struct Crate {
    files: BTreeMap<Module, File>,
}

#[derive(Debug)]
struct File {
    path: String,
    source: Source,
}

/// Files of which each imports the next, and the last the first.
#[derive(Debug)]
pub struct Circle {
    imports: Vec<Import>,
}

#[derive(Debug)]
struct Import {
    from: String,
    path: String,
    to: String,
}

impl Crate {
    /// Reads the files: their paths below `src`, and their texts.
    ///
    /// Where there is a library, `main.rs` is a crate of its own and left out, and so is `bin`.
    pub fn new(texts: &BTreeMap<String, String>) -> Self {
        let is_library = texts.contains_key("lib.rs");
        let counted = texts.iter().filter(|(path, _)| !(is_library && *path == "main.rs"));
        let files = counted.filter_map(|(path, text)| {
            let file = File { path: path.clone(), source: Source::parse(text) };
            Some((module_of(path)?, file))
        });
        Self { files: files.collect() }
    }

    /// The shortest circle through each file that is in one; the same files come once.
    pub fn circles(&self) -> Vec<Circle> {
        let needs: Needs<'_> =
            self.files.keys().map(|module| (module, self.needs_of(module))).collect();
        let (mut seen, mut circles) = (BTreeSet::new(), Vec::new());
        for module in self.files.keys() {
            let Some(ring) = shortest_ring(module, &needs) else { continue };
            if seen.insert(ring.iter().copied().collect::<BTreeSet<_>>()) {
                circles.push(self.circle(&ring, &needs));
            }
        }
        circles
    }

    fn needs_of(&self, module: &Module) -> BTreeMap<&Module, String> {
        let mut needs = BTreeMap::new();
        for path in self.files.get(module).into_iter().flat_map(|file| &file.source.needed) {
            let definer = self.definer((module, path), MAX_REEXPORTS);
            if let Some(other) = definer.filter(|other| !is_family(module, other)) {
                needs.entry(other).or_insert_with(|| path.join("::"));
            }
        }
        needs
    }

    /// The file that defines what a path in a module names. Nothing for what another crate
    /// defines, and for a path to a whole module: what is used of the module has its own path.
    fn definer(
        &self,
        (module, path): (&Module, &[String]),
        max_reexports: usize,
    ) -> Option<&Module> {
        let left = max_reexports.checked_sub(1)?;
        let Some(full) = self.full_path(module, path) else {
            let (first, rest) = path.split_first()?;
            let imported = self.files.get(module)?.source.imported.get(first)?;
            return self.definer((module, &[imported, rest].concat()), left);
        };
        let (owner, file) =
            (0..=full.len()).rev().find_map(|length| self.files.get_key_value(&full[..length]))?;
        let (name, rest) = full[owner.len()..].split_first()?;
        match file.source.imported.get(name) {
            Some(imported) if !file.source.defined.contains(name) => {
                self.definer((owner, &[imported, rest].concat()), left)
            }
            _ => Some(owner),
        }
    }

    /// A path of a module with the names from the root on; nothing when the path begins with
    /// another crate or with a name that the file imports.
    fn full_path(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let above = module.get(..module.len().checked_sub(supers)?)?;
                Some([above, &path[supers..]].concat())
            }
            _ => {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                self.files.contains_key(&child).then(|| [child.as_slice(), rest].concat())
            }
        }
    }

    fn circle(&self, ring: &[&Module], needs: &Needs<'_>) -> Circle {
        let path_of = |module: &Module| self.files[module].path.clone();
        let nexts = ring.iter().cycle().skip(1);
        let imports = ring.iter().zip(nexts).map(|(from, to)| Import {
            from: path_of(from),
            path: needs[from][to].clone(),
            to: path_of(to),
        });
        Circle { imports: imports.collect() }
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imports = self.imports.iter();
        let lines = imports.map(|Import { from, path, to }| format!("{from} uses {path} of {to}"));
        f.write_str(&lines.collect::<Vec<_>>().join(", "))
    }
}

/// The module of a file; nothing for a program of its own and for a file of tests.
fn module_of(path: &str) -> Option<Module> {
    let mut names: Module = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let is_counted = names.first()? != "bin" && !names.iter().any(|name| name == "tests");
    if ["lib", "main", "mod"].contains(&names.last()?.as_str()) {
        names.pop();
    }
    is_counted.then_some(names)
}

fn is_family(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The shortest way from a file over others back to it.
fn shortest_ring<'a>(start: &'a Module, needs: &Needs<'a>) -> Option<Vec<&'a Module>> {
    let mut came_from: BTreeMap<&Module, &'a Module> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(module) = waiting.pop_front() {
        for next in needs[module].keys() {
            if *next == start {
                let back = |at: &&'a Module| came_from.get(*at).copied();
                let mut ring: Vec<_> = std::iter::successors(Some(module), back).collect();
                ring.reverse();
                return Some(ring);
            }
            if !came_from.contains_key(*next) {
                came_from.insert(next, module);
                waiting.push_back(next);
            }
        }
    }
    None
}
