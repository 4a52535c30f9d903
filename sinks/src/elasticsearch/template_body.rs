//! The body of an index template: made from the columns of a table, and from what the template has
//! already of other tables.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    indexes::Wanted,
    mappings::index_body,
    template_config::{Identity, TemplateConfig},
};

/// What is there says with this that a sink has made it.
const OURS: &str = "/_meta/dbevent";

/// Where a template has its fields.
const PROPERTIES: &str = "/template/mappings/properties";

/// What a template is made of.
#[derive(Clone, Copy)]
pub(super) struct Making<'m> {
    pub(super) config: &'m TemplateConfig,
    pub(super) identity: &'m Identity,
    pub(super) wanted: Wanted<'m>,
}

/// Whether a sink has made this template.
pub(super) fn is_ours(there: &Value) -> bool {
    there.pointer(OURS).is_some_and(Value::is_object)
}

/// The template as it is to be, where this one of ours is there, or none.
///
/// What it has of other tables stays. Where several have a field of one name, the first of them
/// says its type, unless the config does: each would change it for the others, and back.
pub(super) fn template_body(making: Making<'_>, there: Option<&Value>) -> Value {
    let Making { config, identity, wanted: Wanted { table, shape, fields, .. } } = making;
    let mut template = index_body(table, shape, fields);
    let mut tables = tables_of(there);
    tables.insert(format!("{}.{}", table.schema, table.table));
    let is_shared = tables.len() > 1;
    if let Some(properties) = template["mappings"]["properties"].as_object_mut() {
        for (name, field) in properties_of(there) {
            if is_shared && !fields.contains_key(name) {
                properties.insert(name.clone(), field.clone());
            } else {
                properties.entry(name).or_insert_with(|| field.clone());
            }
        }
    }
    let mut ours = json!({"tables": tables});
    for (key, given) in [("settings", &config.settings), ("aliases", &config.aliases)] {
        if !given.is_empty() {
            let given = Value::from(given.clone());
            ours[key] = given.clone();
            template[key] = given;
        }
    }
    json!({
        "index_patterns": identity.patterns,
        "priority": identity.priority,
        "_meta": {"dbevent": ours},
        "template": template,
    })
}

/// Whether what is there is what is to be. The server writes settings and aliases in another form
/// than they were given in: `_meta` has them as they were.
pub(super) fn is_settled(there: &Value, body: &Value) -> bool {
    ["/index_patterns", "/priority", OURS, "/template/mappings"]
        .into_iter()
        .all(|part| there.pointer(part) == body.pointer(part))
}

fn tables_of(there: Option<&Value>) -> BTreeSet<String> {
    let tables = there.and_then(|there| there.pointer("/_meta/dbevent/tables")?.as_array());
    let names = tables.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

fn properties_of(there: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    let properties: Option<&Map<_, _>> =
        there.and_then(|there| there.pointer(PROPERTIES)?.as_object());
    properties.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use full_sync::{Table, TableColumn};

    use super::*;
    use crate::{elasticsearch::config::Fields, shape::Shape};

    fn table(name: &str, columns: &[(&str, &str)]) -> Table {
        let column = |(name, declared): &(&str, &str)| TableColumn {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            ..TableColumn::default()
        };
        Table {
            schema: "shop".to_owned(),
            table: name.to_owned(),
            columns: Some(columns.iter().map(column).collect()),
            ..Table::default()
        }
    }

    fn body(table: &Table, fields: &Fields, there: Option<&Value>) -> Value {
        let identity =
            Identity { name: "t".to_owned(), patterns: vec!["t-*".to_owned()], priority: 502 };
        let (config, shape) = (TemplateConfig::default(), Shape::default());
        let wanted = Wanted { table, shape: &shape, fields, rollover: false };
        template_body(Making { config: &config, identity: &identity, wanted }, there)
    }

    fn kind<'b>(body: &'b Value, field: &str) -> &'b Value {
        &body["template"]["mappings"]["properties"][field]["type"]
    }

    #[test]
    fn a_template_has_the_fields_of_all_tables_that_share_it() {
        let none = Fields::new();
        let first = body(&table("a", &[("id", "int"), ("n", "int")]), &none, None);
        assert!(is_ours(&first) && is_settled(&first, &first));
        let second = body(&table("b", &[("n", "date"), ("m", "date")]), &none, Some(&first));
        let kinds = ["id", "n", "m"].map(|name| kind(&second, name).clone());
        assert_eq!(kinds, ["long", "long", "date"].map(Value::from));
        assert_eq!(second["_meta"]["dbevent"]["tables"], json!(["shop.a", "shop.b"]));
        assert!(!is_settled(&first, &second));
        // Each finds it as it is to be.
        let again = body(&table("a", &[("id", "int"), ("n", "int")]), &none, Some(&second));
        assert!(is_settled(&second, &again));
        let given = Fields::from([("n".to_owned(), json!({"type": "keyword"}))]);
        let given = body(&table("a", &[("id", "int"), ("n", "int")]), &given, Some(&second));
        assert_eq!(kind(&given, "n"), "keyword");
    }

    #[test]
    fn a_column_that_is_altered_or_dropped_changes_the_template_of_its_table_alone() {
        let none = Fields::new();
        let first = body(&table("a", &[("n", "int"), ("gone", "int")]), &none, None);
        let second = body(&table("a", &[("n", "varchar(9)")]), &none, Some(&first));
        assert_eq!((kind(&second, "n"), kind(&second, "gone")), (&json!("text"), &json!("long")));
    }

    #[test]
    fn a_template_without_our_mark_is_not_ours() {
        assert!(!is_ours(&json!({"_meta": {"description": "x"}, "priority": 1})));
        assert!(!is_ours(&json!({"priority": 1})));
    }
}
