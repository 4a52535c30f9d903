//! The keys of the config that are about Elasticsearch and OpenSearch.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use reqwest::Url;
use serde_json::Value;
use service::{Secret, config::Section};

use super::template_config::TemplateConfig;
use crate::{
    http::{HttpSettings, read_urls},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ElasticsearchConfig {
    /// At least one; the next one is asked when one does not answer.
    pub(super) urls: Vec<Url>,
    pub(super) http: HttpSettings,
    pub(super) access: Access,
    pub(super) names: Names,
    /// A request is not larger, but for one document that is.
    pub(super) max_request_bytes: usize,
    pub(super) gzip: bool,
    /// Whether an index that is not there is made with mappings from the table's columns.
    pub(super) mappings: bool,
    /// The mappings of some fields, instead of those that their columns get.
    pub(super) fields: Fields,
    /// How index templates are made with such mappings, if they are.
    pub(super) template: Option<TemplateConfig>,
}

/// Mappings by the names of their fields.
pub(super) type Fields = BTreeMap<String, Value>;

/// Who we are for the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Access {
    Everybody,
    Basic { user: String, password: Secret },
    ApiKey(Secret),
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Names {
    pub(super) index: Template,
    /// `None`: made from the key.
    pub(super) id: Option<Template>,
    pub(super) routing: Option<Template>,
    pub(super) pipeline: Option<String>,
}

impl Names {
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        std::iter::once(&self.index).chain(&self.id).chain(&self.routing)
    }
}

impl ElasticsearchConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let http = HttpSettings::read(section);
        let access = Access::read(section);
        let names = Names {
            index: read_template(section, "index").unwrap_or_else(default_index),
            id: read_template(section, "id"),
            routing: read_template(section, "routing"),
            pipeline: section.optional("pipeline"),
        };
        let max = section.or("maxRequestBytes", ByteSize::mib(8)).as_u64();
        let (gzip, mappings) = (section.or("gzip", false), section.or("mappings", false));
        let fields = read_fields(section, mappings);
        let template = TemplateConfig::read(section, &names.index, mappings);
        let urls = read_urls(section);
        (!urls.is_empty()).then_some(Self {
            urls,
            http,
            access,
            names,
            max_request_bytes: usize::try_from(max).unwrap_or(usize::MAX).max(1),
            gzip,
            mappings,
            fields,
            template,
        })
    }
}

impl Access {
    fn read(section: &Section) -> Self {
        let user: Option<String> = section.optional("user");
        let (password, key) = (section.secret("password"), section.secret("apiKey"));
        match (section.has("user"), section.has("password"), section.has("apiKey")) {
            (false, false, false) => return Self::Everybody,
            (true, true, false) | (false, false, true) => {}
            _ => section.note(
                "",
                "does not say who we are",
                "write user and password, or apiKey alone",
            ),
        }
        match (user, password, key) {
            (Some(user), Some(password), _) => Self::Basic { user, password },
            (_, _, Some(key)) => Self::ApiKey(key),
            // A secret that is missing is noted.
            _ => Self::Everybody,
        }
    }
}

fn read_fields(section: &Section, mappings: bool) -> Fields {
    let given = section.section("fields");
    if !mappings && section.has("fields") {
        section.note("fields", "has a meaning only with mappings = true", "set it, or remove this");
    }
    let field = |(name, value): (&String, &Value)| {
        let has_type = value.get("type").is_some_and(Value::is_string);
        if !has_type {
            let remedy = r#"write a mapping, such as { type = "flattened" }"#;
            given.note(name, "is no mapping of a field", remedy);
        }
        has_type.then(|| (name.clone(), value.clone()))
    };
    given.entries().iter().filter_map(field).collect()
}

fn read_template(section: &Section, key: &str) -> Option<Template> {
    let text: String = section.optional(key)?;
    let template = Template::new(&text);
    let noted = template.map_err(|problem| {
        section.note(key, &format!("is no template: {problem}"), "correct it");
    });
    noted.ok()
}

#[expect(clippy::expect_used, reason = "the text is ours")]
pub(super) fn default_index() -> Template {
    Template::new("{schema}-{table}").expect("it is a template")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;

    fn read(toml: &str) -> Result<Option<ElasticsearchConfig>, String> {
        let file = File::parse(Path::new("test"), toml).unwrap();
        let config = ElasticsearchConfig::read(file.root());
        file.finish(config).map_err(|mistakes| format!("{mistakes:?}"))
    }

    #[test]
    fn one_url_or_several_and_who_we_are() {
        let config = read("url = 'http://a:9200'").unwrap().unwrap();
        assert_eq!((config.urls.len(), config.access), (1, Access::Everybody));
        let several = "url = ['https://a', 'https://b:9201/search']\nuser = 'u'\npassword = 'p'";
        let config = read(several).unwrap().unwrap();
        assert_eq!(config.urls[1].as_str(), "https://b:9201/search");
        assert!(matches!(config.access, Access::Basic { ref user, .. } if user == "u"));
        let config = read("url = 'https://a'\napiKey = 'k'").unwrap().unwrap();
        assert!(matches!(config.access, Access::ApiKey(_)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        for (toml, part) in [
            ("", "url"),
            ("url = []", "is empty"),
            ("url = 'ftp://a'", "is not an http or https URL"),
            ("url = 'http://u:p@a'", "has a user or password in it"),
            ("url = 'http://a'\nuser = 'u'", "does not say who we are"),
            ("url = 'http://a'\nuser = 'u'\npassword = 'p'\napiKey = 'k'", "who we are"),
            ("url = 'http://a'\nindex = '{{ Dat.x }}'", "no member of an event"),
            ("url = 'http://a'\nfields = { a = { type = 'ip' } }", "only with mappings = true"),
            (
                "url = 'http://a'\nmappings = true\nfields = { a = 'ip' }",
                "is no mapping of a field",
            ),
            ("url = 'http://a'\ntemplate = true", "only with mappings = true"),
        ] {
            let mistakes = read(toml).unwrap_err();
            assert!(mistakes.contains(part), "{part:?} is not in {mistakes}");
        }
    }
}
