//! Globs over names: `*` stands for any characters, also none, and `?` for one.

/// Whether a whole name fits. Case counts, and no other character is special.
pub fn matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    // After the last `*`: the rest of the glob, and where the text goes on if it takes nothing.
    let mut star = None;
    loop {
        let here = text.clone();
        match (glob.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((glob.clone(), here.clone()));
                text = here;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((rest, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (glob, text) = (rest.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, text, expected) in [
            ("wx_*", "wx_config", true),
            ("wx_*", "wx_", true),
            ("wx_*", "a_wx_", false),
            ("*", "", true),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbxabc", false),
            ("a?c", "a表c", true),
            ("a?c", "ac", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} on {text}");
        }
    }
}
