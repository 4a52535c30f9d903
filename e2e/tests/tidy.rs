//! The rules of how this code looks that rustfmt and clippy do not know.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use e2e::{imports::Crate, servers::repository};

const MAX_LINES: usize = 500;
const MAX_COLUMNS: usize = 100;

/// The section of ARCHITECTURE.md that leads from questions to files.
const MAP_SECTION: &str = "## Question → file";
const MIN_QUESTIONS: usize = 25;
/// ARCHITECTURE.md has fewer lines than this.
const MAX_MAP_LINES: usize = 250;

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

#[test]
fn the_map_leads_to_files_and_names_that_are_there() {
    let text = read(&repository().join("ARCHITECTURE.md"));
    let lines = text.lines().count();
    assert!(lines < MAX_MAP_LINES, "ARCHITECTURE.md has {lines} lines");
    let section = text.split_once(MAP_SECTION).map(|(_, section)| section);
    let section = section.unwrap_or_else(|| panic!("ARCHITECTURE.md has no {MAP_SECTION}"));
    let rows: Vec<&str> = section
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with('|'))
        // The names of the columns, and the line under them.
        .skip(2)
        .collect();
    assert!(rows.len() >= MIN_QUESTIONS, "{} questions are answered", rows.len());
    let complaints: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("{row} {}", wrong_answer(row, &repository())?)))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What is wrong with a row `| question | `path` `name` |` of the map.
fn wrong_answer(row: &str, root: &Path) -> Option<String> {
    let Some((_, answer)) = row.trim().trim_matches('|').split_once('|') else {
        return Some("has no second column".to_owned());
    };
    let quoted: Vec<&str> = answer.split('`').skip(1).step_by(2).collect();
    let (path, name) = match quoted[..] {
        [path] => (path, None),
        [path, name] => (path, Some(name)),
        _ => return Some("has not one path, or one path and one name".to_owned()),
    };
    let file = root.join(path);
    if !file.exists() {
        return Some(format!("leads to {path}, which is not there"));
    }
    let name = name?;
    let is_there = file.is_file() && defines(&read(&file), name);
    (!is_there).then(|| format!("leads to {name}, which is not in {path}"))
}

fn defines(text: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "const"].iter().any(|keyword| {
        text.match_indices(&format!("{keyword} {name}")).any(|(at, definition)| {
            let after = text[at + definition.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn a_wrong_answer_of_the_map_is_found() {
    let root = repository();
    let wrong = |answer: &str| wrong_answer(&format!("| Where? | {answer} |"), &root);
    for right in ["`e2e/src`", "`e2e/tests/tidy.rs`", "`e2e/tests/tidy.rs` `MAX_LINES`"] {
        assert_eq!(wrong(right), None);
    }
    for mistake in ["", "e2e/src", "`e2e/none.rs`", "`e2e/tests/tidy.rs` `MAX_LINE`", "`e2e` `fn`"]
    {
        assert!(wrong(mistake).is_some(), "{mistake}");
    }
}

#[test]
fn no_two_files_import_each_other() {
    let mut crates: BTreeMap<PathBuf, BTreeMap<String, String>> = BTreeMap::new();
    let root = repository();
    for file in rust_files() {
        let path = file.strip_prefix(&root).expect("a file of the repository");
        let Some(src) = path.ancestors().find(|folder| folder.ends_with("src")) else { continue };
        let name = path.strip_prefix(src).expect("an ancestor").display().to_string();
        crates.entry(src.to_owned()).or_default().insert(name, read(&file));
    }
    assert!(crates.len() > 5, "the repository has more crates than these: {:?}", crates.keys());
    let circles = crates.iter().flat_map(|(src, texts)| {
        let circles = Crate::new(texts).circles().into_iter();
        circles.map(|circle| format!("in {}: {circle}", src.display()))
    });
    let circles: Vec<String> = circles.collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Fails with everything that `rule` finds wrong in the Rust files of the repository.
fn complain_about(rule: impl Fn(&Path, &str) -> Option<String>) {
    let complaints = rust_files().into_iter().filter_map(|path| {
        let wrong = rule(&path, &read(&path))?;
        Some(format!("{} {wrong}", path.display()))
    });
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The Rust files of the repository.
fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&repository(), &mut files).expect("the repository can be read");
    assert!(files.len() > 20, "the repository has more files than these: {files:?}");
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of the repository is UTF-8")
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
