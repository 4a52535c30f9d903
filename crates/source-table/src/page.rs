//! The query for a page of a table: a number of rows after a key, in the key's order.

use mysql_async::{Params, Value};

use crate::{
    cursor::{Bounds, Cursor, KeyValue},
    error::{TableError, TableResult},
    key::{Comparison, Key, KeyPart},
    quote::identifier,
    table::Description,
};

/// An ENUM with more members is compared as a number; then the server cannot use its index.
const MAX_LISTED_MEMBERS: u64 = 1000;

/// Which rows, relative to the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    After,
    FromOn,
    UpTo,
}

impl Description {
    /// The query for the next page: at most `limit` rows, after a key, within the bounds, in the
    /// key's order. A [`RowWriter`](crate::RowWriter) of this description reads the result.
    ///
    /// The cursors must have passed [`Description::check`]: if the server misreads a cursor, rows
    /// may be lost.
    ///
    /// For a table without a key the query gives all rows, in no order; neither a cursor nor bounds
    /// can be given.
    ///
    /// # Errors
    ///
    /// [`TableError::Altered`], when a cursor belongs to another definition of the key.
    pub fn page_query(
        &self,
        after: Option<&Cursor>,
        bounds: &Bounds,
        limit: u64,
    ) -> TableResult<(String, Params)> {
        let mut query = Query::default();
        query.add("SELECT ");
        query.add(&self.select_list());
        query.add(&format!(" FROM {}", self.quoted_name()));
        if let Some(key) = self.key.as_ref().filter(|key| key.is_ordered) {
            query.add(&format!(" FORCE INDEX ({})", identifier(&key.index)));
        }
        let first = match after {
            Some(cursor) => Some((cursor, Side::After)),
            None => bounds.first.as_ref().map(|cursor| (cursor, Side::FromOn)),
        };
        let last = bounds.last.as_ref().map(|cursor| (cursor, Side::UpTo));
        let mut joint = " WHERE ";
        for (cursor, side) in first.into_iter().chain(last) {
            query.add(joint);
            query.add_side(self.key_of(cursor)?, (&cursor.values, side));
            joint = " AND ";
        }
        if let Some(key) = &self.key {
            query.add(&format!(" ORDER BY {}", key.order()));
        }
        query.add(" LIMIT ?");
        query.params.push(Value::UInt(limit));
        Ok((query.sql, Params::Positional(query.params)))
    }

    /// The key that a cursor belongs to.
    pub(crate) fn key_of(&self, cursor: &Cursor) -> TableResult<&Key> {
        let fits = |key: &&Key| {
            key.identity() == cursor.key
                && key.parts.len() == cursor.values.len()
                && key
                    .parts
                    .iter()
                    .zip(&cursor.values)
                    .all(|(part, value)| part.param(value).is_some())
        };
        self.key.as_ref().filter(fits).ok_or_else(|| {
            TableError::Altered(format!(
                "the key of {} is not the one that the full sync began with: ({})",
                self.name(),
                cursor.key
            ))
        })
    }

    /// All columns, then what else the key needs.
    fn select_list(&self) -> String {
        let columns = self.columns.iter().map(|column| identifier(&column.name));
        let parts = self.key.iter().flat_map(|key| &key.parts);
        columns.chain(parts.filter_map(KeyPart::selected_apart)).collect::<Vec<_>>().join(", ")
    }
}

/// SQL, and the parameters in it.
#[derive(Debug, Default)]
struct Query {
    sql: String,
    params: Vec<Value>,
}

impl Query {
    fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// A condition for the rows on one side of a key: the parts before the first different one are
    /// equal, and that one is on the right side. For this form the server uses ranges of its index;
    /// for a comparison of rows it does not.
    fn add_side(&mut self, key: &Key, (values, side): (&[KeyValue], Side)) {
        self.add("(");
        for differs in 0..key.parts.len() {
            self.add(if differs == 0 { "(" } else { " OR (" });
            for (part, value) in key.parts.iter().zip(values).take(differs) {
                self.add(&format!("{} = {} AND ", part.expression(), part.operand()));
                self.params.extend(part.param(value));
            }
            let is_last = differs + 1 == key.parts.len();
            let inclusive = is_last && side != Side::After;
            if let Some((part, value)) = key.parts.iter().zip(values).nth(differs) {
                let larger = (side == Side::UpTo) == part.descending;
                self.add_comparison(part, (value, larger, inclusive));
            }
            self.add(")");
        }
        self.add(")");
    }

    fn add_comparison(
        &mut self,
        part: &KeyPart,
        (value, larger, inclusive): (&KeyValue, bool, bool),
    ) {
        if let (Comparison::Member { count }, KeyValue::Unsigned(n)) = (&part.comparison, value)
            && *count <= MAX_LISTED_MEMBERS
        {
            return self.add_members(part, members_beyond((*n, *count), larger, inclusive));
        }
        let operator = match (larger, inclusive) {
            (true, false) => ">",
            (true, true) => ">=",
            (false, false) => "<",
            (false, true) => "<=",
        };
        self.add(&format!("{} {operator} {}", part.expression(), part.operand()));
        self.params.extend(part.param(value));
    }

    /// The index of an ENUM can be searched for single members, but not for ranges.
    fn add_members(&mut self, part: &KeyPart, members: std::ops::RangeInclusive<u64>) {
        let listed: Vec<String> = members.map(|number| number.to_string()).collect();
        if listed.is_empty() {
            self.add("FALSE");
        } else {
            self.add(&format!("{} IN ({})", part.name, listed.join(",")));
        }
    }
}

/// The numbers of the members on one side of a number. An invalid value has the number 0.
fn members_beyond(
    (n, count): (u64, u64),
    larger: bool,
    inclusive: bool,
) -> std::ops::RangeInclusive<u64> {
    #[expect(clippy::reversed_empty_ranges, reason = "no members at all")]
    const NONE: std::ops::RangeInclusive<u64> = 1..=0;
    match (larger, inclusive) {
        (true, true) => n..=count,
        (true, false) => n.saturating_add(1)..=count,
        (false, true) => 0..=n.min(count),
        (false, false) => n.checked_sub(1).map_or(NONE, |below| 0..=below.min(count)),
    }
}
