//! The parameters of a full sync: reads them, and says what is wrong with them.

use full_sync::{Code, Refusal};

use super::refusal::RefusedCall;

/// The names of the parameters in messages. All names are accepted everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterNames {
    listener: &'static str,
    from: &'static str,
    to: &'static str,
}

/// In `/?table=…&listenerid=…`.
pub(crate) const IN_QUERY: ParameterNames =
    ParameterNames { listener: "listenerid", from: "offset", to: "maxOffset" };

/// In a JSON body, as in the JSON of a full sync.
pub(crate) const IN_BODY: ParameterNames =
    ParameterNames { listener: "listener", from: "from", to: "to" };

const LISTENER: &[&str] = &["listener", "listenerId", "listenerid"];
const FROM: &[&str] = &["from", "offset"];
const TO: &[&str] = &["to", "maxOffset"];

impl ParameterNames {
    /// The names that the caller wrote; these names for what the caller did not write.
    pub(crate) fn as_written(self, parameters: &[(String, String)]) -> Self {
        let at = |names: &[&str]| {
            names.iter().position(|name| parameters.iter().any(|(given, _)| given == name))
        };
        let name = |names: &[&'static str], at: Option<usize>, usual| {
            at.and_then(|at| names.get(at).copied()).unwrap_or(usual)
        };
        // Of the bounds, old names go with old ones.
        let (from, to) = (at(FROM), at(TO));
        Self {
            listener: name(LISTENER, at(LISTENER), self.listener),
            from: name(FROM, from.or(to), self.from),
            to: name(TO, to.or(from), self.to),
        }
    }

    /// A refusal in these names: `dts` calls the bounds `from` and `to`.
    pub(crate) fn reword(&self, refused: RefusedCall) -> RefusedCall {
        let Self { from, to, .. } = self;
        let reword = |text: String| {
            let text = text.replace("from and to", &format!("{from} and {to}"));
            text.replace("`from` and `to`", &format!("`{from}` and `{to}`"))
        };
        match refused {
            RefusedCall::ByDts(Refusal { code: Code::InvalidParameter, message, remedy, task }) => {
                let (message, remedy) = (reword(message), reword(remedy));
                RefusedCall::ByDts(Refusal { code: Code::InvalidParameter, message, remedy, task })
            }
            other => other,
        }
    }
}

/// Which rows to send to which listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedRows {
    pub(crate) listener: String,
    /// `table`, `schema.table`, with wildcards; absent for all that the listener subscribes to.
    pub(crate) tables: Option<String>,
    /// The key column, for `from` and `to`.
    pub(crate) key_column: Option<String>,
    /// The first key.
    pub(crate) from: Option<String>,
    /// The last key.
    pub(crate) to: Option<String>,
}

impl WantedRows {
    /// Reads parameters. Does not check the values: `dts` asks MySQL what a key or a name may be.
    ///
    /// # Errors
    ///
    /// All mistakes, in words.
    pub(crate) fn read(
        parameters: &[(String, String)],
        told: &ParameterNames,
    ) -> Result<Self, String> {
        let names: [&[&str]; 5] = [&["table"], LISTENER, &["pk"], FROM, TO];
        let mut mistakes = Vec::new();
        let values = names.map(|names| take(parameters, names, &mut mistakes));
        for (name, _) in parameters.iter().filter(|(name, _)| !names.concat().contains(&&**name)) {
            mistakes.push(format!("{name:?} is not known"));
        }
        let [tables, listener, key_column, from, to] = values;
        if listener.is_none() {
            mistakes.push(format!("{} is missing", told.listener));
        }
        let is_part = key_column.is_some() || from.is_some() || to.is_some();
        if is_part && tables.as_ref().is_none_or(|tables| tables.contains(['*', '?'])) {
            let ParameterNames { from, to, .. } = told;
            mistakes.push(format!("pk, {from} and {to} are for a single table, and none is named"));
        }
        match listener {
            Some(listener) if mistakes.is_empty() => {
                Ok(Self { listener, tables, key_column, from, to })
            }
            _ => Err(mistakes.join("; ")),
        }
    }
}

/// The value of a parameter, if there is one, under any of its names.
fn take(
    parameters: &[(String, String)],
    names: &[&str],
    mistakes: &mut Vec<String>,
) -> Option<String> {
    let mut values = parameters.iter().filter(|(name, _)| names.contains(&&**name));
    let (name, value) = values.next()?;
    match values.next() {
        Some((other, _)) if other == name => {
            mistakes.push(format!("{name} is given more than once"));
        }
        Some((other, _)) => mistakes.push(format!("{name} and {other} are the same: give one")),
        None => {}
    }
    if value.trim().is_empty() {
        mistakes.push(format!("{name} is blank"));
    }
    Some(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<WantedRows, String> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        let parameters: Vec<_> = query.split('&').map(pair).collect();
        WantedRows::read(&parameters, &IN_QUERY)
    }

    #[test]
    fn every_parameter_is_taken_as_it_is() {
        let wanted = read("table=a.b&listenerid=l&pk=`id`&offset=1' OR 1=1&maxOffset= 9").unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!((wanted.listener.as_str(), wanted.tables), ("l", text("a.b")));
        assert_eq!((wanted.key_column, wanted.from), (text("`id`"), text("1' OR 1=1")));
        assert_eq!(wanted.to, text(" 9"));
        assert_eq!(read("listenerid=l").unwrap().tables, None);
    }

    #[test]
    fn a_parameter_may_go_by_each_of_its_names() {
        let wanted = read("table=t&listenerid=l&offset=1&maxOffset=2").unwrap();
        for query in ["table=t&listener=l&from=1&to=2", "table=t&listenerId=l&offset=1&to=2"] {
            assert_eq!(read(query).unwrap(), wanted, "{query}");
        }
        let told = read("listener=l&listenerid=l").unwrap_err();
        assert_eq!(told, "listener and listenerid are the same: give one");
    }

    #[test]
    fn what_dts_refuses_is_told_in_the_names_that_the_caller_wrote() {
        let told = |names: ParameterNames, query: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let pairs: Vec<_> = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            let (message, remedy) = ("no key".to_owned(), "swap from and to".to_owned());
            let refusal = Refusal { code: Code::InvalidParameter, message, remedy, task: None };
            match names.as_written(&pairs).reword(RefusedCall::ByDts(refusal)) {
                RefusedCall::ByDts(refusal) => refusal.remedy,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(IN_QUERY, "offset=2&maxOffset=1"), "swap offset and maxOffset");
        assert_eq!(told(IN_QUERY, "from=2&to=1"), "swap from and to");
        assert_eq!(told(IN_QUERY, "to=1"), "swap from and to");
        assert_eq!(told(IN_BODY, "from=2&maxOffset=1"), "swap from and maxOffset");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        for (query, mistakes) in [
            ("table=t", "listenerid is missing"),
            ("listenerid=&table= ", "table is blank; listenerid is blank"),
            ("listenerid=l&table=a&table=b", "table is given more than once"),
            ("tabel=t&listenerid", "listenerid is blank; \"tabel\" is not known"),
            (
                "listenerid=l&offset=1",
                "pk, offset and maxOffset are for a single table, and none is",
            ),
            ("listenerid=l&table=a*&pk=id", "pk, offset and maxOffset are for a single table"),
        ] {
            let told = read(query).unwrap_err();
            assert!(told.starts_with(mistakes), "{query}: {told}");
        }
    }
}
