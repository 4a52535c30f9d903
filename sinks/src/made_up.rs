//! A made-up row of a table, with which `event-worker check` tries the config beforehand.

use full_sync::{Table, TableColumn};
use handler::Event;

/// The insert of a made-up row.
pub(crate) struct MadeUp {
    pub(crate) event: Event,
    /// Columns whose values may have any form: nobody can make one up.
    free: Vec<String>,
}

impl MadeUp {
    /// A row of a table; `None` where its columns are not known.
    pub(crate) fn row(table: &Table) -> Option<Self> {
        let columns = table.columns.as_ref()?;
        let object = |columns: &mut dyn Iterator<Item = &TableColumn>| {
            let members = columns.map(|column| {
                let value = value(&column.declared).unwrap_or("null");
                format!("{}:{value}", text(&column.name))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let is_key = |column: &&TableColumn| table.primary_key.contains(&column.name);
        let json = format!(
            r#"{{"EvId":"check:1#0","Schema":{},"TableName":{},"Action":"insert","PK":{},"Data":{},"Seq":1,"Origin":"binlog","Ts":1700000000123,"Source":{{"serverId":1,"file":"check","pos":4,"row":0}}}}"#,
            text(&table.schema),
            text(&table.table),
            object(&mut columns.iter().filter(is_key)),
            object(&mut columns.iter()),
        );
        let event = Event { json, ev_id: "check:1#0".to_owned(), seq: Some(1), ..Event::default() };
        let free = columns.iter().filter(|column| value(&column.declared).is_none());
        Some(Self { event, free: free.map(|column| column.name.clone()).collect() })
    }

    /// Whether a text of the config may be about a column whose values nobody can make up.
    pub(crate) fn is_vague(&self, text: &str) -> bool {
        self.free.iter().any(|name| text.contains(name.as_str()))
    }
}

fn text(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// A value as events have it (docs/event-format.md), of a column that was declared so.
fn value(declared: &str) -> Option<&'static str> {
    let declared = declared.to_ascii_lowercase();
    let word = declared.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    Some(match word {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bit" => "1",
        "year" => "2026",
        "float" | "double" | "real" => "1.5",
        "decimal" | "numeric" => "\"1.00\"",
        "date" => "\"2026-01-02\"",
        "time" => "\"03:04:05\"",
        "datetime" => "\"2026-01-02 03:04:05\"",
        "timestamp" => "\"2026-01-02T03:04:05Z\"",
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" => "\"1\"",
        // JSON, binary values, geometries, and what is not known.
        _ => return None,
    })
}
