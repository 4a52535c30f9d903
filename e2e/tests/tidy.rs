//! The rules of how this code looks that rustfmt and clippy do not know.

use std::path::{Path, PathBuf};

use e2e::servers::repository;

const MAX_LINES: usize = 500;
const MAX_COLUMNS: usize = 100;

/// Words that say nothing about what a file is for.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "common", "misc", "manager", "helper", "helpers", "base"];

#[test]
fn every_file_says_first_what_it_is_for() {
    complain_about(|_, text| {
        let first = text.lines().find(|line| !line.starts_with("#!["));
        let good = first.is_some_and(|line| line.starts_with("//!"));
        (!good).then(|| "does not begin with //!".to_owned())
    });
}

#[test]
fn no_file_is_too_long_to_read() {
    complain_about(|path, text| {
        let catalogue = text.lines().take_while(|line| line.starts_with("//!"));
        let may_be_long =
            is_test(path) || catalogue.into_iter().any(|line| line.contains("catalogue"));
        let lines = text.lines().count();
        (lines > MAX_LINES && !may_be_long).then(|| format!("has {lines} lines"))
    });
}

#[test]
fn no_line_is_too_wide() {
    complain_about(|_, text| {
        // rustfmt leaves a statement alone that holds a long string, and so does this.
        let is_wide =
            |line: &str| line.chars().count() > MAX_COLUMNS && !line.contains(['"', '\\']);
        let wide = text.lines().position(is_wide)?;
        Some(format!("line {} is wider than {MAX_COLUMNS} columns", wide + 1))
    });
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    // Put together here, so that this file does not complain about itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    complain_about(|_, text| {
        let mark = marks.iter().find(|mark| text.contains(mark.as_str()))?;
        Some(format!("contains {mark}"))
    });
}

#[test]
fn every_name_says_something() {
    complain_about(|path, _| {
        let name = path.file_stem()?.to_str()?;
        let empty = name.split(['_', '-']).find(|word| EMPTY_NAMES.contains(word))?;
        Some(format!("is named {empty}"))
    });
}

/// Fails with everything that `rule` finds wrong in the Rust files of the repository.
fn complain_about(rule: impl Fn(&Path, &str) -> Option<String>) {
    let (mut files, mut complaints) = (Vec::new(), Vec::new());
    collect(&repository(), &mut files).expect("the repository can be read");
    assert!(files.len() > 20, "the repository has more files than these: {files:?}");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
        complaints.extend(rule(&path, &text).map(|wrong| format!("{} {wrong}", path.display())));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || ["target", "data", "corpus"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}
