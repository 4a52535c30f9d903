//! Keys: the one that holds a row's version, and what a cluster needs for it.
//!
//! A cluster puts a key where the text between its first `{` and the next `}` says, its hash tag;
//! a key without one where the whole key says (Redis cluster specification, "Hash tags").

/// What is added to a row's key, or to its tag.
const SUFFIX: &str = ":seq";

/// The key that holds the version of the row with this key: `item:7` has `{item:7}:seq`, and
/// `item:{7}` has `item:{7}:seq`. In a cluster both keys are in one place.
///
/// # Errors
///
/// Why there is no such key in a cluster.
pub(super) fn version_key(key: &str, is_cluster: bool) -> Result<String, String> {
    if has_tag(key) {
        return Ok(format!("{key}{SUFFIX}"));
    }
    if is_cluster && key.contains('}') {
        return Err("the key has a } but no hash tag: in a cluster write one, for example \
                    item:{{ '{' }}{{ PK.id }}{{ '}' }}"
            .to_owned());
    }
    Ok(format!("{{{key}}}{SUFFIX}"))
}

fn has_tag(key: &str) -> bool {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    tag.is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_row_is_in_the_place_of_the_row() {
        for (key, version) in [
            ("item:7", "{item:7}:seq"),
            ("item:{7}", "item:{7}:seq"),
            ("{shop}:item:7", "{shop}:item:7:seq"),
            ("a{b", "{a{b}:seq"),
        ] {
            assert_eq!(version_key(key, true).as_deref(), Ok(version));
        }
    }

    #[test]
    fn a_key_that_cannot_share_its_place_is_refused_in_a_cluster_only() {
        for key in ["a}b", "a{}b"] {
            assert!(version_key(key, true).unwrap_err().contains("hash tag"), "{key}");
            assert!(version_key(key, false).is_ok());
        }
    }
}
