//! Files that fit a glob. `*` and `?` stand for characters of one name, and not for a dot at its
//! beginning; `**` for any folders, also none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use service::glob;

/// `**` goes so deep. Links to folders are not followed by it.
const MAX_DEPTH: usize = 16;

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) paths: Vec<PathBuf>,
    pub(super) problems: Vec<(PathBuf, io::Error)>,
}

/// Finds the paths that fit.
pub(super) fn find(pattern: &str, found: &mut Found) {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    descend(Path::new(root), &parts, MAX_DEPTH, found);
}

fn descend(folder: &Path, parts: &[&str], depth: usize, found: &mut Found) {
    let Some((part, rest)) = parts.split_first() else {
        found.paths.push(folder.to_owned());
        return;
    };
    if *part == "**" {
        descend(folder, rest, depth, found);
        if depth == 0 {
            return;
        }
        for (name, is_folder) in names(folder, found) {
            if is_folder && !name.starts_with('.') {
                descend(&folder.join(name), parts, depth - 1, found);
            }
        }
    } else if part.contains(['*', '?']) {
        for (name, _) in names(folder, found) {
            if name.starts_with('.') == part.starts_with('.') && glob::matches(part, &name) {
                descend(&folder.join(name), rest, depth, found);
            }
        }
    } else {
        descend(&folder.join(part), rest, depth, found);
    }
}

/// The names in a folder that are text, in their order, and which of them are folders.
fn names(folder: &Path, found: &mut Found) -> Vec<(String, bool)> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            use io::ErrorKind::{NotADirectory, NotFound};
            if !matches!(error.kind(), NotFound | NotADirectory) {
                found.problems.push((folder.to_owned(), error));
            }
            return Vec::new();
        }
    };
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        Some((entry.file_name().into_string().ok()?, is_folder))
    };
    let mut names: Vec<_> = entries.filter_map(entry).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_find_files_in_folders() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a/x.log", "a/.hidden.log", "b/deep/er/y.log", "b/y.txt", "z.log"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let names = |pattern: &str| {
            let mut found = Found::default();
            find(&format!("{}/{pattern}", root.path().display()), &mut found);
            assert!(found.problems.is_empty());
            let names = found.paths.iter().map(|path| path.strip_prefix(root.path()).unwrap());
            names.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("*.log"), "z.log");
        assert_eq!(names("*/*.log"), "a/x.log");
        assert_eq!(names("**/*.log"), "z.log a/x.log b/deep/er/y.log");
        assert_eq!(names("a/.*.log"), "a/.hidden.log");
        assert_eq!(names("?/y.*"), "b/y.txt");
        assert_eq!(names("none/*/x"), "");
        // Whether it is there is for others to see.
        assert_eq!(names("b/none"), "b/none");
    }
}
