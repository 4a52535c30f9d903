//! Why the rows of a call failed: each distinct reason, with how many rows have it.

/// So many distinct reasons are told.
const MAX_REASONS: usize = 5;

/// The rest of a longer reason is left out, where there are several.
const MAX_REASON_CHARS: usize = 500;

/// All reasons as one text. Those that differ only in their numbers and in the values that
/// they quote are one: the first of them is told.
pub(crate) fn told<'r>(reasons: impl Iterator<Item = &'r str>) -> String {
    let mut kinds: Vec<(String, &str, usize)> = Vec::new();
    for reason in reasons {
        let kind = kind_of(reason);
        match kinds.iter_mut().find(|(of, ..)| *of == kind) {
            Some((_, _, count)) => *count += 1,
            None => kinds.push((kind, reason, 1)),
        }
    }
    if let [(_, reason, count)] = &kinds[..] {
        return match count {
            1 => (*reason).to_owned(),
            more => format!("{reason} (and {} more)", more - 1),
        };
    }
    // The most frequent one first.
    kinds.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    let mut told: Vec<String> =
        kinds.iter().take(MAX_REASONS).map(|(_, reason, count)| counted(reason, *count)).collect();
    let left: usize = kinds.iter().skip(MAX_REASONS).map(|(_, _, count)| count).sum();
    if left > 0 {
        told.push(counted("for other reasons", left));
    }
    told.join("; ")
}

fn counted(reason: &str, count: usize) -> String {
    let rows = if count == 1 { "row" } else { "rows" };
    let end = reason.char_indices().nth(MAX_REASON_CHARS);
    match end {
        Some((end, _)) => format!("{count} {rows}: {} …", &reason[..end]),
        None => format!("{count} {rows}: {reason}"),
    }
}

/// What is between quotes after one of these words is a name, not a value.
const NAMED: [&str; 10] = [
    "column",
    "key",
    "constraint",
    "table",
    "relation",
    "field",
    "index",
    "type",
    "topic",
    "domain",
];

/// The reason without what is of one row only.
fn kind_of(reason: &str) -> String {
    let mut kind = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some(at) = rest.find(['\'', '"', '(']) {
        let (before, quoted) = rest.split_at(at);
        push(&mut kind, before);
        let end = match (quoted.as_bytes().first(), before.chars().next_back()) {
            // An apostrophe: isn't.
            (Some(b'\''), Some(last)) if last.is_alphanumeric() => None,
            // Key (name)=(value).
            (Some(b'('), Some('=')) => quoted.find(')'),
            (Some(b'('), _) => None,
            (Some(mark), _) => quoted[1..].find(char::from(*mark)).map(|end| end + 1),
            (None, _) => None,
        };
        let last_word = before.trim_end().rsplit(' ').next().unwrap_or_default();
        let end = end.filter(|_| !NAMED.contains(&last_word));
        rest = match end {
            Some(end) => &quoted[end + 1..],
            None => {
                kind.push_str(&quoted[..1]);
                &quoted[1..]
            }
        };
    }
    push(&mut kind, rest);
    kind
}

fn push(kind: &mut String, text: &str) {
    kind.extend(text.chars().filter(|c| !c.is_ascii_digit()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distinct_reason_is_told_with_its_count_and_no_more_than_a_few_are() {
        let of = |list: &[&str]| told(list.iter().copied());
        assert_eq!(of(&["too long"]), "too long");
        assert_eq!(of(&["no '1'", "no '2'", "no '34'"]), "no '1' (and 2 more)");
        assert_eq!(
            of(&["column a: 5 is no date", "full", "column a: 77 is no date"]),
            "2 rows: column a: 5 is no date; 1 row: full"
        );
        let other = ["value 'x' too long for column 'a'", "value 'y' too long for column 'b'"];
        assert_eq!(of(&other), format!("1 row: {}; 1 row: {}", other[0], other[1]));
        let same =
            ["isn't unique \"k\": Key (n)=(x1) exists", "isn't unique \"k\": Key (n)=(y) exists"];
        assert_eq!(of(&same), format!("{} (and 1 more)", same[0]));
        let many: Vec<String> = ('a'..='h').map(|c| format!("reason {c}")).collect();
        let many = told(many.iter().map(String::as_str));
        assert!(many.ends_with("1 row: reason e; 3 rows: for other reasons"), "{many}");
        let long = "é".repeat(2 * MAX_REASON_CHARS);
        assert!(of(&[&long, "short"]).chars().count() < MAX_REASON_CHARS + 60);
    }
}
