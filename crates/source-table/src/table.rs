//! A table as the server describes it now.

use change_event::json;
use mysql_async::Row;

use crate::{
    conn::Conn,
    error::{TableError, TableResult},
    key::{Comparison, Key, KeyPart},
    quote::identifier,
    session::is_mariadb,
    value::Form,
};

/// A table, and how it can be read.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// All columns that the binlog has, in their order, with invisible and generated ones.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order. If there is none: those of the key that the
    /// server uses instead, as the binlog does. Empty without either.
    pub primary_key: Vec<usize>,
    /// The key that the table is read by: the primary key; if there is none, the smallest unique
    /// key without NULLs; `None` without such a key.
    pub key: Option<Key>,
    /// About how many rows the table has.
    pub estimated_rows: u64,
    /// About how many bytes a row takes in the table.
    pub average_row_bytes: u64,
    /// Whether several statements can see the table as it was at one moment.
    pub is_transactional: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as CREATE TABLE has it.
    pub declared: String,
    /// `"name":`, escaped: the text before a value in an object.
    pub(crate) json_key: Box<[u8]>,
    pub(crate) form: Form,
    pub(crate) collation: Option<String>,
    pub(crate) nullable: bool,
    /// The expression that computes its values from other columns.
    pub(crate) generated: Option<String>,
    /// Whether the column counts where a table without a key identifies its rows. A generated
    /// column of MariaDB does not, since MariaDB may not log it.
    pub(crate) identifies: bool,
    max_bytes: u64,
}

/// The most bytes of a column in an index, in an engine that does not hash (MyISAM has the least).
pub const MAX_INDEXED_BYTES: u64 = 1000;

/// Finds a table in `information_schema` by its exact name. (The schema's own comparison may ignore
/// case.)
const OF_TABLE: &str = "TABLE_SCHEMA = ? AND TABLE_NAME = ? \
    AND CAST(TABLE_SCHEMA AS BINARY) = CAST(? AS BINARY) \
    AND CAST(TABLE_NAME AS BINARY) = CAST(? AS BINARY)";

/// Describes a table; `None` when there is none with this name, in exactly this case.
/// [`session`](crate::session()) must have set the connection.
///
/// # Errors
///
/// When the server does not answer; refused, when it is not a table with rows in the binlog (a
/// view), or has a column of a type that is not handled.
pub async fn describe(
    conn: &mut Conn,
    schema: &str,
    table: &str,
) -> TableResult<Option<Description>> {
    describe_by(conn, (schema, table), None).await
}

/// The same, to be read by a unique key of one column, if there is such a key.
///
/// # Errors
///
/// As [`describe`]; refused without such a key.
pub async fn describe_by(
    conn: &mut Conn,
    (schema, table): (&str, &str),
    by: Option<&str>,
) -> TableResult<Option<Description>> {
    let Some(told) = found(conn, (schema, table)).await? else { return Ok(None) };
    let (kind, rows, row_bytes, engine): (String, Option<u64>, Option<u64>, Option<String>) =
        mysql_async::from_row(told);
    let mut description = Description {
        schema: schema.to_owned(),
        table: table.to_owned(),
        columns: Vec::new(),
        primary_key: Vec::new(),
        key: None,
        estimated_rows: rows.unwrap_or(0),
        average_row_bytes: row_bytes.unwrap_or(0),
        is_transactional: engine.as_deref() == Some("InnoDB"),
    };
    description.check_seen(conn).await?;
    description.check_kind(&kind)?;
    description.columns = description.read_columns(conn).await?;
    description.check_seen(conn).await?;
    let keys = description.read_keys(conn).await?;
    description.check_seen(conn).await?;
    if keys.is_empty() && found(conn, (schema, table)).await?.is_none() {
        // It was dropped between two of these queries.
        return Ok(None);
    }
    if let Some(primary) = description.primary_of(conn, &keys).await? {
        description.primary_key = primary.parts.iter().map(|part| part.column).collect();
    }
    description.key = match by {
        None => description.best_of(keys),
        Some(column) => Some(description.only_of(keys, column)?),
    };
    Ok(Some(description))
}

/// What the server says of the table itself.
async fn found(conn: &mut Conn, (schema, table): (&str, &str)) -> TableResult<Option<Row>> {
    let query = format!(
        "SELECT TABLE_TYPE, TABLE_ROWS, AVG_ROW_LENGTH, ENGINE FROM information_schema.TABLES \
         WHERE {OF_TABLE}"
    );
    Ok(conn.exec_first(query, (schema, table, schema, table)).await?)
}

/// All tables except those of the server itself, as schema and name.
///
/// # Errors
///
/// When the server does not answer.
pub async fn tables(conn: &mut Conn) -> TableResult<Vec<(String, String)>> {
    let query = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
        WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA \
        NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1, 2";
    Ok(conn.query(query).await?)
}

impl Description {
    /// `schema.table`, for messages.
    pub fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// The same, quoted for SQL.
    pub fn quoted_name(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.table))
    }

    /// Whether both are the same definition, whatever rows the tables have.
    pub fn is_same_definition(&self, other: &Self) -> bool {
        (&self.schema, &self.table) == (&other.schema, &other.table)
            && self.columns == other.columns
            && self.primary_key == other.primary_key
            && self.key == other.key
    }

    /// Checks that the table is still as it was described. If the transaction that read a page asks
    /// this, the answer holds for the page: the transaction keeps others from altering the table.
    ///
    /// # Errors
    ///
    /// [`TableError::Gone`] and [`TableError::Altered`] say that it is not; others as [`describe`].
    pub async fn check_unchanged(&self, conn: &mut Conn) -> TableResult<()> {
        let now = describe(conn, &self.schema, &self.table).await?;
        let now = now.ok_or_else(|| TableError::Gone(format!("table {} is gone", self.name())))?;
        if self.is_same_definition(&now) {
            return Ok(());
        }
        Err(TableError::Altered(format!("table {} was altered", self.name())))
    }

    /// A MariaDB leaves a table out of its answers if it cannot lock the table in time, and only
    /// warns.
    async fn check_seen(&self, conn: &mut Conn) -> TableResult<()> {
        const LOCK_WAIT_TIMEOUT: u16 = 1205;
        if conn.get_warnings() == 0 {
            return Ok(());
        }
        let warnings: Vec<(String, u16, String)> = conn.query("SHOW WARNINGS").await?;
        match warnings.into_iter().find(|(_, code, _)| *code == LOCK_WAIT_TIMEOUT) {
            Some((.., said)) => {
                Err(TableError::Altered(format!("{} is locked: {said}", self.name())))
            }
            None => Ok(()),
        }
    }

    fn check_kind(&self, kind: &str) -> TableResult<()> {
        let what = match kind {
            "BASE TABLE" => return Ok(()),
            "SYSTEM VERSIONED" => "is system-versioned and keeps its history",
            "SEQUENCE" => "is a sequence",
            _ => "is a view",
        };
        Err(TableError::refused(
            format!("{} {what}", self.name()),
            "a full sync reads plain tables only; name one",
        ))
    }

    async fn read_columns(&self, conn: &mut Conn) -> TableResult<Vec<Column>> {
        let names = (&self.schema, &self.table, &self.schema, &self.table);
        let query = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, \
             NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, CHARACTER_OCTET_LENGTH, \
             NULLIF(GENERATION_EXPRESSION, ''), IS_NULLABLE = 'YES' FROM information_schema.COLUMNS WHERE {OF_TABLE} ORDER BY ORDINAL_POSITION"
        );
        let found: Vec<Declared> = conn.exec(query, names).await?;
        let mut columns: Vec<Column> =
            found.into_iter().map(|declared| self.column(declared)).collect::<TableResult<_>>()?;
        if is_mariadb(conn.server_version()) {
            columns.iter_mut().for_each(|column| column.identifies = column.generated.is_none());
        }
        Ok(columns)
    }

    fn column(&self, declared: Declared) -> TableResult<Column> {
        let (name, data_type, column_type, charset, collation, ..) = &declared;
        let (.., precision, scale, fraction, octets, generated, nullable) = &declared;
        let narrow = |n: &Option<u64>| n.and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
        let numbers = (narrow(precision), narrow(scale), narrow(fraction));
        let form = Form::of((data_type, column_type), charset.as_deref(), numbers);
        let form = form.map_err(|what| {
            TableError::refused(
                format!("column {name} of {}: {what} not handled yet", self.name()),
                "leave the table out",
            )
        })?;
        let mut json_key = Vec::new();
        json::write_str(&mut json_key, name);
        json_key.push(b':');
        let column = Column {
            name: name.clone(),
            declared: column_type.clone(),
            json_key: json_key.into(),
            form,
            collation: collation.clone(),
            nullable: *nullable,
            generated: generated.clone(),
            identifies: true,
            max_bytes: octets.unwrap_or(8),
        };
        if matches!(column.form, Form::Set(_)) && column.members().contains(&String::new()) {
            return Err(TableError::refused(
                format!(
                    "column {name} of {} is a SET with an empty member, which SELECT does not show",
                    self.name()
                ),
                "give that member a name, or leave the table out",
            ));
        }
        Ok(column)
    }

    /// The unique keys without NULLs that the server can be made to use.
    async fn read_keys(&self, conn: &mut Conn) -> TableResult<Vec<Key>> {
        let names = (&self.schema, &self.table, &self.schema, &self.table);
        // A functional part has no column name, so a key with one is left out below.
        let hidden = match conn.server_version() {
            version if is_mariadb(version) => "IGNORED = 'YES'",
            _ => "IS_VISIBLE = 'NO'",
        };
        let query = format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, COLLATION, INDEX_TYPE, \
             IF({hidden} OR NULLABLE = 'YES', 1, 0) \
             FROM information_schema.STATISTICS WHERE {OF_TABLE} AND NON_UNIQUE = 0 \
             ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        );
        let found: Vec<IndexPart> = conn.exec(query, names).await?;
        if is_mariadb(conn.server_version()) {
            self.check_hidden_hash(&found)?;
        }
        let indexes = found.chunk_by(|left, right| left.0 == right.0);
        Ok(indexes.filter_map(|parts| self.key(parts)).collect())
    }

    /// The primary key. If there is none: the key that the server uses instead. That is the first,
    /// in the server's order, of the unique keys whose columns are all whole and without NULL.
    async fn primary_of<'a>(
        &self,
        conn: &mut Conn,
        keys: &'a [Key],
    ) -> TableResult<Option<&'a Key>> {
        if let Some(primary) = keys.iter().find(|key| key.index == "PRIMARY") {
            return Ok(Some(primary));
        }
        let is_whole = |key: &&Key| key.parts.iter().all(|part| part.prefix.is_none());
        let fit: Vec<&Key> = keys.iter().filter(is_whole).collect();
        if fit.len() < 2 {
            return Ok(fit.first().copied());
        }
        let shown: Vec<Row> = conn.query(format!("SHOW KEYS FROM {}", self.quoted_name())).await?;
        let mut names = shown.iter().filter_map(|row| row.get::<String, _>("Key_name"));
        Ok(names.find_map(|name| fit.iter().find(|key| key.index == name).copied()))
    }

    /// For a unique key over a long text MariaDB keeps a hash in a hidden column. The binlog has
    /// this column, and a SELECT cannot see it, so it must not count where rows are identified.
    fn check_hidden_hash(&self, parts: &[IndexPart]) -> TableResult<()> {
        let has_primary = parts.iter().any(|part| part.0 == "PRIMARY");
        let is_long = |part: &&IndexPart| {
            let column = self.columns.iter().find(|column| Some(&column.name) == part.1.as_ref());
            let is_hashed = part.4 == "HASH" && part.2.is_none();
            is_hashed && column.is_some_and(|column| column.max_bytes > MAX_INDEXED_BYTES)
        };
        match parts.iter().find(is_long).filter(|_| !has_primary) {
            None => Ok(()),
            Some(part) => Err(TableError::refused(
                format!(
                    "{} has the unique key {} over a long text and no primary key",
                    self.name(),
                    part.0
                ),
                "give the table a primary key",
            )),
        }
    }

    fn key(&self, parts: &[IndexPart]) -> Option<Key> {
        let (index, .., kind, _) = parts.first()?;
        let mut parts: Vec<KeyPart> =
            parts.iter().map(|part| self.key_part(part)).collect::<Option<_>>()?;
        let is_ordered = kind == "BTREE" && parts.iter().all(|part| self.has_order(part));
        if !is_ordered {
            let texts =
                parts.iter_mut().filter(|part| matches!(part.comparison, Comparison::Text(_)));
            texts.for_each(|part| part.comparison = Comparison::Bytes);
        }
        Some(Key { index: index.clone(), parts, is_ordered })
    }

    /// Whether an index has a part's values in the order in which the server compares them. MariaDB
    /// compares a CHAR without the spaces at its end, and its index has them: without padding the
    /// orders differ.
    fn has_order(&self, part: &KeyPart) -> bool {
        let column = self.columns.get(part.column);
        let is_odd = column.is_some_and(|column| {
            let collation = column.collation.as_deref().unwrap_or_default();
            column.declared.starts_with("char") && collation.contains("nopad")
        });
        let is_opaque = part.comparison == Comparison::Digits;
        part.prefix.is_none() && !is_odd && !is_opaque
    }

    fn key_part(&self, part: &IndexPart) -> Option<KeyPart> {
        let (_, name, prefix, direction, _, is_unfit) = part;
        let name = name.as_ref().filter(|_| *is_unfit == 0)?;
        let place = self.columns.iter().position(|column| column.name == *name)?;
        let column = self.columns.get(place)?;
        let whole = column.part(place)?;
        Some(KeyPart { prefix: *prefix, descending: direction.as_deref() == Some("D"), ..whole })
    }

    /// The key that has just this column.
    fn only_of(&self, keys: Vec<Key>, column: &str) -> TableResult<Key> {
        let is_it = |key: &Key| match key.parts.as_slice() {
            [part] => {
                self.columns.get(part.column).is_some_and(|of| is_same_name(&of.name, column))
            }
            _ => false,
        };
        keys.into_iter().find(is_it).ok_or_else(|| {
            let best = self.key_columns().join(", ");
            TableError::refused(
                format!(
                    "{column:?} is neither the key of {} nor a column with a unique index of its \
                     own and no NULL",
                    self.name()
                ),
                match best.as_str() {
                    "" => "leave pk out".to_owned(),
                    best => format!("leave pk out: the table is read by ({best})"),
                },
            )
        })
    }

    /// Whether the key that the table is read by has just this column.
    pub fn is_read_by(&self, column: &str) -> bool {
        matches!(self.key_columns().as_slice(), [only] if is_same_name(only, column))
    }

    /// The columns' names of the key that the table is read by.
    pub fn key_columns(&self) -> Vec<&str> {
        let parts = self.key.iter().flat_map(|key| &key.parts);
        parts.filter_map(|part| Some(self.columns.get(part.column)?.name.as_str())).collect()
    }

    /// One whose index has the rows in order; of those the primary key, or else the smallest.
    fn best_of(&self, keys: Vec<Key>) -> Option<Key> {
        let bytes = |key: &Key| -> u64 {
            let columns = key.parts.iter().filter_map(|part| self.columns.get(part.column));
            columns.map(|column| column.max_bytes).sum()
        };
        let rank = |key: &Key| {
            let is_primary = key.index == "PRIMARY";
            (!key.is_ordered, !is_primary, key.parts.len(), bytes(key), key.index.clone())
        };
        keys.into_iter().min_by_key(rank)
    }
}

/// Name, DATA_TYPE, COLUMN_TYPE, character set, collation; the number of digits, and of those after
/// the point; digits of a second's fraction; bytes of a string; the expression that generates it;
/// whether it may be NULL.
type Declared = (
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<String>,
    bool,
);

/// Index, column, prefix, direction, type of the index, and whether it cannot be used.
type IndexPart = (String, Option<String>, Option<u64>, Option<String>, String, u8);

/// The server ignores case in the names of columns.
fn is_same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}
