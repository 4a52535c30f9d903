//! The keys that a config file has in its comments. Tests use them to compare the shipped files and
//! the docs with what the programs read.
//!
//! The files have one form. A key that is commented out, `# key = value`, shows its default, unless
//! the comment above or after it says "Example" or "Required". A table that is commented out,
//! `# [table]`, has the keys below it, up to the next table. After "With key = value" in a comment
//! come the keys that the table has with that value.

use std::{io, path::Path};

/// A key that is commented out, and the file with it and without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commented {
    /// Its table and name.
    pub key: String,
    /// Whether it shows its default, so that both texts mean the same.
    pub shows_default: bool,
    /// The file in which it can be taken in: with what its table needs.
    pub without: String,
    /// The file with the key.
    pub with: String,
}

/// A line of the file.
#[derive(Clone, Debug)]
struct ConfigLine<'a> {
    /// As TOML, without the comment mark if it is commented out.
    toml: &'a str,
    what: LineKind<'a>,
    is_out: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LineKind<'a> {
    Table(&'a str),
    Key {
        table: &'a str,
        /// Of a table that is commented out.
        is_in_commented_table: bool,
        name: &'a str,
        /// What the table has where this key has a meaning.
        given: Option<&'a str>,
        about: About,
    },
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Default,
    Example,
    Required,
}

/// The keys that are commented out in a config file, in their order. Values that would come from
/// the environment are replaced by texts.
pub fn commented_keys(file: &str) -> Vec<Commented> {
    let file = without_environment(file);
    let lines = read(&file);
    let outs = lines.iter().enumerate().filter(|(_, line)| line.is_out);
    outs.filter_map(|(at, line)| commented(&lines, at, line)).collect()
}

/// What is wrong with the keys that are commented out, if a text means what `meaning` makes of it:
/// those that show no default though they say so, and those that a program does not know.
pub fn wrong_keys(
    keys: &[Commented],
    meaning: impl Fn(&str) -> Result<String, String>,
) -> Vec<String> {
    let wrong = |Commented { key, shows_default, without, with }: &Commented| {
        let with = meaning(with);
        let is_right = match &with {
            Ok(_) => !shows_default || with == meaning(without),
            Err(said) => !shows_default && !is_wrong(said),
        };
        (!is_right).then(|| format!("{key}: {with:?}"))
    };
    keys.iter().filter_map(wrong).collect()
}

/// The keys that are not commented out.
pub fn plain_keys(file: &str) -> Vec<String> {
    let key = |line: ConfigLine<'_>| match line.what {
        LineKind::Key { table, name, .. } if !line.is_out => Some(full_key(table, name)),
        _ => None,
    };
    read(file).into_iter().filter_map(key).collect()
}

/// The file with a table taken in that is commented out, and each of its keys; of several of one
/// name the one that `chosen` stands in, or the first.
pub fn with_table(file: &str, wanted: &str, chosen: &str) -> String {
    let file = without_environment(file);
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for line in read(&file) {
        let LineKind::Key { table, name, is_in_commented_table: true, .. } = line.what else {
            continue;
        };
        let place = taken.iter_mut().find(|(taken, _)| *taken == name);
        match place {
            _ if table != wanted => {}
            Some(place) if line.toml.contains(chosen) => place.1 = line.toml,
            Some(_) => {}
            None => taken.push((name, line.toml)),
        }
    }
    let keys: Vec<&str> = taken.into_iter().map(|(_, toml)| toml).collect();
    format!("{file}\n[{wanted}]\n{}\n", keys.join("\n"))
}

/// The blocks of TOML in a page of the docs; what stands in no table is of `[bus]`.
pub fn toml_blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line.trim() == "```toml") {
        let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        let is_in_table = block.first().is_some_and(|line| line.trim().starts_with('['));
        let table = if is_in_table { "" } else { "[bus]\n" };
        blocks.push(without_environment(&format!("{table}{}", block.join("\n"))));
    }
    blocks
}

/// All of them in the pages of a repository: `README*.md` and `docs/*.md`.
///
/// # Errors
///
/// When they cannot be read.
pub fn blocks_of_docs(repository: &Path) -> io::Result<Vec<String>> {
    let mut blocks = Vec::new();
    for folder in [repository.to_owned(), repository.join("docs")] {
        for page in std::fs::read_dir(folder)? {
            let page = page?.path();
            if page.extension().is_some_and(|extension| extension == "md") {
                blocks.extend(toml_blocks(&std::fs::read_to_string(page)?));
            }
        }
    }
    Ok(blocks)
}

/// Whether a program that was given a text said that it does not know a key, or that its value is
/// of a wrong kind.
pub fn is_wrong(said: &str) -> bool {
    ["is not TOML", "is not a known key", "does not fit", "is not known"]
        .iter()
        .any(|wrong| said.contains(wrong))
}

/// `{ env = "NAME" }` as the text "NAME", so that a test needs no environment.
pub fn without_environment(text: &str) -> String {
    let mut parts = text.split("{ env = ");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    whole.extend(parts.map(|part| part.replacen(" }", "", 1)));
    whole
}

fn commented(lines: &[ConfigLine<'_>], at: usize, line: &ConfigLine<'_>) -> Option<Commented> {
    let LineKind::Key { table, is_in_commented_table, name, given, about } = line.what else {
        return None;
    };
    let as_it_is = || lines.iter().filter(|line| !line.is_out).map(|line| line.toml);
    let (without, with) = if is_in_commented_table {
        let needed = lines.iter().filter_map(|line| needed(line, table));
        let needed: Vec<(&str, &str)> = needed.collect();
        let file: Vec<&str> = as_it_is().collect();
        let base = format!("{}\n[{table}]\n", file.join("\n"));
        let others = needed.iter().filter(|(other, _)| *other != name).map(|(_, toml)| *toml);
        let all = needed.iter().map(|(_, toml)| *toml);
        let (all, others): (Vec<_>, Vec<_>) = (all.collect(), others.collect());
        (format!("{base}{}", all.join("\n")), format!("{base}{}\n{}", others.join("\n"), line.toml))
    } else {
        let text = |taken: Option<usize>| {
            let shown = lines.iter().enumerate().flat_map(|(place, line)| {
                let is_there = !line.is_out || Some(place) == taken;
                let given = given.filter(|_| place == at);
                given.into_iter().chain(is_there.then_some(line.toml))
            });
            shown.collect::<Vec<_>>().join("\n")
        };
        (text(None), text(Some(at)))
    };
    let shows_default = about == About::Default;
    Some(Commented { key: full_key(table, name), shows_default, without, with })
}

/// A key that a commented table must have.
fn needed<'a>(line: &ConfigLine<'a>, wanted: &str) -> Option<(&'a str, &'a str)> {
    match line.what {
        LineKind::Key {
            table, name, about: About::Required, is_in_commented_table: true, ..
        } if table == wanted => Some((name, line.toml)),
        _ => None,
    }
}

fn full_key(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

fn read(file: &str) -> Vec<ConfigLine<'_>> {
    let (mut table, mut is_in_commented_table, mut given) = ("", false, None);
    // What the comment says above the key that comes next.
    let mut above = About::Default;
    let mut lines = Vec::new();
    for line in file.lines() {
        let commented = line.strip_prefix("# ");
        let (toml, is_out) = (commented.unwrap_or(line), commented.is_some());
        let what = if let Some(name) = table_name(toml) {
            (table, is_in_commented_table, given, above) = (name, is_out, None, About::Default);
            LineKind::Table(name)
        } else if let Some((name, after)) = key(toml) {
            let about = about(after).unwrap_or(above);
            above = About::Default;
            LineKind::Key { table, is_in_commented_table, name, given, about }
        } else {
            given = toml.strip_prefix("With ").and_then(setting).or(given);
            above = if is_out { about(toml).unwrap_or(above) } else { About::Default };
            LineKind::Other
        };
        let is_out = is_out || line.starts_with('#');
        lines.push(ConfigLine { toml, what, is_out });
    }
    lines
}

fn table_name(toml: &str) -> Option<&str> {
    let (name, after) = toml.strip_prefix('[')?.split_once(']')?;
    let after = after.trim_start();
    (after.is_empty() || after.starts_with('#')).then_some(name)
}

/// The name of a key, and the text after it.
fn key(toml: &str) -> Option<(&str, &str)> {
    let (name, after) = toml.split_once(" = ")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, after))
}

/// `key = "value"` at the beginning of a text.
fn setting(text: &str) -> Option<&str> {
    let (name, value) = key(text)?;
    let end = value.strip_prefix('"')?.find('"')?;
    text.get(..name.len() + " = ".len() + end + 2)
}

fn about(comment: &str) -> Option<About> {
    match comment {
        _ if comment.contains("Required") => Some(About::Required),
        _ if comment.contains("Example") => Some(About::Example),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# About it.
name = "a"

# Where. Example:
# start = "x"
# size = 3

[bus]
# kind = "log"
# With kind = "kafka" other keys count:
# partitions = 6   # Example

# [more.first]
# What to do. Required.
# does = "this"
# does = "that"    # Example
# often = 1
"#;

    fn found() -> Vec<(String, bool)> {
        let keys = commented_keys(FILE).into_iter();
        keys.map(|found| (found.key, found.shows_default)).collect()
    }

    #[test]
    fn keys_are_found_with_what_is_said_of_them() {
        let expected = [
            ("start", false),
            ("size", true),
            ("bus.kind", true),
            ("bus.partitions", false),
            ("more.first.does", false),
            ("more.first.does", false),
            ("more.first.often", true),
        ];
        assert_eq!(found(), expected.map(|(key, shows)| (key.to_owned(), shows)));
        assert_eq!(plain_keys(FILE), ["name"]);
    }

    #[test]
    fn a_key_is_taken_in_where_it_counts() {
        let keys = commented_keys(FILE);
        let squeezed = |text: &str| {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(|line| line.split("   #").next().unwrap()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(squeezed(&keys[1].with), "name = \"a\"|size = 3|[bus]");
        assert_eq!(squeezed(&keys[3].without), "name = \"a\"|[bus]|kind = \"kafka\"");
        let expected = "name = \"a\"|[bus]|kind = \"kafka\"|partitions = 6";
        assert_eq!(squeezed(&keys[3].with), expected);
        let expected = "name = \"a\"|[bus]|[more.first]|does = \"that\" ";
        assert_eq!(squeezed(&keys[5].with), expected);
        let expected = "name = \"a\"|[bus]|[more.first]|does = \"this\"|often = 1";
        assert_eq!(squeezed(&keys[6].with), expected);
        let whole = with_table(FILE, "more.first", "that");
        assert!(whole.ends_with("[more.first]\ndoes = \"that\"    # Example\noften = 1\n"));
    }

    #[test]
    fn the_blocks_of_a_page_are_found() {
        let page = "a\n```toml\nb = { env = \"C\" }\n```\n```sh\nd\n```\n  ```toml\n  [e]\n  ```\n";
        assert_eq!(toml_blocks(page), ["[bus]\nb = \"C\"", "  [e]"]);
    }
}
