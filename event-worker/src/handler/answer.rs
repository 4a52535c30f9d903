//! What a handler's answer means, whichever way it came.

use serde::Deserialize;
use serde_json::Value;

use super::Outcome;

/// No answer is longer.
pub(crate) const MAX_ANSWER_BYTES: usize = 4 << 20;

/// An answer's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a>(pub(crate) &'a [u8]);

#[derive(Deserialize)]
struct Failed {
    failed: Vec<String>,
}

impl Answer<'_> {
    /// Done: any JSON but `false` and an object with `failed`. `{"failed":["<EvId>",…]}`: those
    /// failed, the others are done.
    ///
    /// # Errors
    ///
    /// What is wrong with an answer that cannot be understood; it counts as failed. The answer
    /// itself may hold rows, so it is not shown.
    pub(crate) fn read(self) -> Result<Outcome, String> {
        match serde_json::from_slice(self.0) {
            Ok(Value::Bool(false)) => Ok(Outcome::failed("the handler answered false")),
            Ok(Value::Object(table)) if table.contains_key("failed") => partly(table.into()),
            Ok(_) => Ok(Outcome::Done),
            Err(_) if self.0.is_empty() => {
                Err("the handler answered an empty line: write true, false or other JSON".into())
            }
            Err(_) => Err(format!("the handler's answer ({} bytes) is not JSON", self.0.len())),
        }
    }
}

fn partly(answer: Value) -> Result<Outcome, String> {
    let Failed { failed } = serde_json::from_value(answer).map_err(|_| {
        "the handler's answer has \"failed\", but not as a list of EvIds in quotes".to_owned()
    })?;
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Partly(failed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_but_false_and_failed_means_done() {
        for done in ["true", "null", "0", "\"no\"", "{}", "[]", "{\"ok\":false}", " true\r"] {
            assert_eq!(Answer(done.as_bytes()).read(), Ok(Outcome::Done), "{done}");
        }
        assert_eq!(Answer(b"{\"failed\":[]}").read(), Ok(Outcome::Done));
    }

    #[test]
    fn false_means_failed_and_so_does_what_cannot_be_understood() {
        assert!(matches!(Answer(b"false").read(), Ok(Outcome::Failed(_))));
        for rubbish in ["", "ok", "True", "{\"failed\":", "{\"failed\":true}", "true false"] {
            assert!(Answer(rubbish.as_bytes()).read().is_err(), "{rubbish}");
        }
        assert!(Answer(b"{\"failed\":[7]}").read().is_err());
    }

    #[test]
    fn a_list_names_those_that_failed() {
        let answer = Answer(br#"{"failed":["g:1#0","g:1#2"],"note":"x"}"#);
        assert_eq!(answer.read(), Ok(Outcome::Partly(vec!["g:1#0".into(), "g:1#2".into()])));
    }
}
