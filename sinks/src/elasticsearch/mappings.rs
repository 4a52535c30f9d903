//! The mappings of an index, made from the columns of a table (`docs/sinks.md`, "Mappings").

use full_sync::{Table, TableColumn};
use serde_json::{Map, Value, json};

use super::config::Fields;
use crate::{shape::Shape, value::Kind};

/// So many digits a double holds.
const MAX_DOUBLE_DIGITS: u32 = 15;

/// What to create the index with. Columns that come later are mapped by the server, to whom a text
/// is never a date.
pub(super) fn index_body(table: &Table, shape: &Shape, fields: &Fields) -> Value {
    let columns = table.columns.iter().flatten();
    let mut properties: Map<String, Value> = columns
        .filter(|column| shape.takes(&column.name))
        .map(|column| (shape.name_of(&column.name).into_owned(), field(column)))
        .collect();
    let has_field = |name: &str, properties: &Map<String, Value>| {
        properties.contains_key(name) || shape.added().any(|(added, _)| added == name)
    };
    // Of a table without such a column there is no such field.
    for (name, given) in fields {
        if has_field(name, &properties) {
            properties.insert(name.clone(), given.clone());
        }
    }
    json!({"mappings": {"date_detection": false, "properties": properties}})
}

fn field(column: &TableColumn) -> Value {
    let declared = column.declared.to_lowercase();
    match Kind::of(&declared) {
        Kind::Integer | Kind::Bit => json!({"type": integer(&declared)}),
        Kind::Single => json!({"type": "float"}),
        Kind::Float => json!({"type": "double"}),
        Kind::Decimal => match argument(&declared) {
            Some(digits) if digits > MAX_DOUBLE_DIGITS => json!({"type": "keyword"}),
            _ => json!({"type": "double"}),
        },
        Kind::Date => date("uuuu-MM-dd"),
        Kind::DateTime => date(&date_time(argument(&declared).unwrap_or_default())),
        Kind::Timestamp => date("strict_date_optional_time"),
        Kind::Year => json!({"type": "short"}),
        Kind::Time | Kind::Enum | Kind::Set => json!({"type": "keyword"}),
        Kind::Binary => json!({"type": "binary"}),
        // A document may be an object here and a list there: it is kept, not indexed.
        Kind::Json => unindexed(),
        Kind::Geometry => json!({"type": "geo_shape", "ignore_malformed": true}),
        Kind::Vector => json!({"type": "float", "index": false}),
        Kind::Text if declared.starts_with("inet") => json!({"type": "ip"}),
        Kind::Text if declared.starts_with("uuid") => json!({"type": "keyword"}),
        Kind::Text => {
            let keyword = json!({"type": "keyword", "ignore_above": 256});
            json!({"type": "text", "fields": {"keyword": keyword}})
        }
    }
}

fn unindexed() -> Value {
    json!({"type": "object", "enabled": false})
}

fn integer(declared: &str) -> &'static str {
    let is_large = declared.starts_with("bigint") && declared.contains("unsigned");
    if is_large || declared.starts_with("bit(64)") { "unsigned_long" } else { "long" }
}

/// Zero dates are no dates: the field is not indexed then, and the document has it.
fn date(format: &str) -> Value {
    json!({"type": "date", "format": format, "ignore_malformed": true})
}

/// With the column's digits of fraction, and with those that it may get.
fn date_time(digits: u32) -> String {
    const SECONDS: &str = "uuuu-MM-dd HH:mm:ss";
    let mut formats = vec![SECONDS.to_owned()];
    for digits in [digits, 3, 6] {
        let format = format!("{SECONDS}.{}", "S".repeat(digits as usize));
        if digits > 0 && !formats.contains(&format) {
            formats.push(format);
        }
    }
    formats.join("||")
}

/// The first number in the parentheses of a type.
fn argument(declared: &str) -> Option<u32> {
    let (_, rest) = declared.split_once('(')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The same without a type that the server does not know, as it said; `None` where that is not what
/// is wrong.
pub(super) fn without_unknown_type(body: &Value, said: &str) -> Option<Value> {
    let (_, rest) = said.split_once("No handler for type [")?;
    let (unknown, _) = rest.split_once(']')?;
    let mut body = body.clone();
    let fields = body.pointer_mut("/mappings/properties")?.as_object_mut()?;
    let mut is_changed = false;
    for field in fields.values_mut().filter(|field| field["type"] == unknown) {
        *field = match unknown {
            "unsigned_long" => json!({"type": "keyword"}),
            _ => unindexed(),
        };
        is_changed = true;
    }
    is_changed.then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(declared: &str) -> Value {
        field(&TableColumn { declared: declared.to_owned(), ..TableColumn::default() })
    }

    #[test]
    fn each_type_has_a_field_that_takes_its_values() {
        for (declared, kind) in [
            ("int", "long"),
            ("bigint unsigned", "unsigned_long"),
            ("tinyint(1)", "long"),
            ("bit(64)", "unsigned_long"),
            ("decimal(10,2)", "double"),
            ("decimal(20,2)", "keyword"),
            ("float", "float"),
            ("double", "double"),
            ("date", "date"),
            ("datetime(6)", "date"),
            ("timestamp", "date"),
            ("time(3)", "keyword"),
            ("year", "short"),
            ("varchar(20)", "text"),
            ("enum('a','b')", "keyword"),
            ("varbinary(4)", "binary"),
            ("json", "object"),
            ("point", "geo_shape"),
            ("inet6", "ip"),
        ] {
            assert_eq!(of(declared)["type"], kind, "{declared}");
        }
        let format = "uuuu-MM-dd HH:mm:ss||uuuu-MM-dd HH:mm:ss.SS||uuuu-MM-dd HH:mm:ss.SSS||\
                      uuuu-MM-dd HH:mm:ss.SSSSSS";
        assert_eq!(of("datetime(2)")["format"], format);
    }

    #[test]
    fn a_type_that_the_server_does_not_know_is_left_out() {
        let columns = ["id", "u", "g"].map(|name| TableColumn {
            name: name.to_owned(),
            declared: match name {
                "u" => "bigint unsigned",
                "g" => "geometry",
                _ => "int",
            }
            .to_owned(),
            ..TableColumn::default()
        });
        let table = Table { columns: Some(columns.into()), ..Table::default() };
        let given = [("u", json!({"type": "keyword"})), ("x", json!({"type": "ip"}))];
        let fields = given.map(|(name, field)| (name.to_owned(), field)).into();
        let body = index_body(&table, &Shape::default(), &fields);
        assert_eq!(body["mappings"]["properties"]["u"]["type"], "keyword");
        assert_eq!(body["mappings"]["properties"]["x"], Value::Null);
        let body = index_body(&table, &Shape::default(), &Fields::new());
        // OpenSearch 2.19 without its module geo.
        let said = "No handler for type [geo_shape] declared on field [g]";
        let body = without_unknown_type(&body, said).unwrap();
        assert_eq!(body["mappings"]["properties"]["g"], unindexed());
        let said = "No handler for type [unsigned_long] declared on field [u]";
        let body = without_unknown_type(&body, said).unwrap();
        assert_eq!(body["mappings"]["properties"]["u"]["type"], "keyword");
        assert_eq!(without_unknown_type(&body, said), None);
        assert_eq!(without_unknown_type(&body, "mapper [id] cannot be changed"), None);
    }
}
