//! What a caller may ask for, and what is wrong with how it was asked.

/// How the listener is named in `/?table=…&listenerid=…`.
pub(crate) const LISTENER_IN_QUERY: &str = "listenerid";

/// How it is named in a JSON body.
pub(crate) const LISTENER_IN_BODY: &str = "listenerId";

/// Rows that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) listener: String,
    /// `table`, `schema.table`, with wildcards; absent for all that the listener subscribes to.
    pub(crate) tables: Option<String>,
    /// The column that the bounds are about.
    pub(crate) key_column: Option<String>,
    /// The first key.
    pub(crate) from: Option<String>,
    /// The last key.
    pub(crate) to: Option<String>,
}

impl Wanted {
    /// Reads parameters, in which the listener is called `listener`. No value is looked into: what
    /// a key or a name may be, `dts` asks MySQL.
    ///
    /// # Errors
    ///
    /// All that is wrong with them, in words.
    pub(crate) fn read(parameters: &[(String, String)], listener: &str) -> Result<Self, String> {
        let names = ["table", listener, "pk", "offset", "maxOffset"];
        let mut mistakes = Vec::new();
        let values = names.map(|name| take(parameters, name, &mut mistakes));
        for (name, _) in parameters.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
            mistakes.push(format!("{name:?} is not known"));
        }
        if !parameters.iter().any(|(name, _)| name == listener) {
            mistakes.push(format!("{listener} is missing"));
        }
        let [tables, listener, key_column, from, to] = values;
        let is_part = key_column.is_some() || from.is_some() || to.is_some();
        if is_part && tables.as_ref().is_none_or(|tables| tables.contains(['*', '?'])) {
            mistakes.push("pk, offset and maxOffset are about one table, and none is named".into());
        }
        match listener {
            Some(listener) if mistakes.is_empty() => {
                Ok(Self { listener, tables, key_column, from, to })
            }
            _ => Err(mistakes.join("; ")),
        }
    }
}

/// The one value of a parameter, if there is one.
fn take(parameters: &[(String, String)], name: &str, mistakes: &mut Vec<String>) -> Option<String> {
    let mut values = parameters.iter().filter(|(found, _)| found == name).map(|(_, value)| value);
    let value = values.next()?;
    if values.next().is_some() {
        mistakes.push(format!("{name} is there more than once"));
    }
    if value.trim().is_empty() {
        mistakes.push(format!("{name} is blank"));
    }
    Some(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted, String> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        let parameters: Vec<_> = query.split('&').map(pair).collect();
        Wanted::read(&parameters, LISTENER_IN_QUERY)
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
    fn all_mistakes_are_told_at_once() {
        for (query, mistakes) in [
            ("table=t", "listenerid is missing"),
            ("listenerid=&table= ", "table is blank; listenerid is blank"),
            ("listenerid=l&table=a&table=b", "table is there more than once"),
            ("tabel=t&listenerid", "listenerid is blank; \"tabel\" is not known"),
            ("listenerid=l&offset=1", "pk, offset and maxOffset are about one table, and none is"),
            ("listenerid=l&table=a*&pk=id", "pk, offset and maxOffset are about one table"),
        ] {
            let told = read(query).unwrap_err();
            assert!(told.starts_with(mistakes), "{query}: {told}");
        }
    }
}
