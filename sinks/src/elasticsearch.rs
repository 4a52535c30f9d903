//! Elasticsearch and OpenSearch: each row is a document, by the `_bulk` API.
//!
//! The number of the change, `Seq`, is the document's external version. So a change that comes
//! again, or late, never replaces a newer one: the server answers 409, and the change is done. The
//! server forgets the version of a deleted document after `index.gc_deletes` (60 seconds).

mod answer;
mod bulk;
mod client;

use std::sync::Arc;

use async_trait::async_trait;
use bytesize::ByteSize;
use handler::Failure;
use reqwest::Url;
use service::{Secret, config::Section};

use self::{bulk::Operations, client::SearchClient};
use crate::{
    change::Unusable,
    http::{HttpSettings, read_url},
    shape::Wanted,
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ElasticsearchConfig {
    url: Url,
    http: HttpSettings,
    access: Access,
    names: Names,
    /// A request is not larger, but for one document that is.
    max_request_bytes: usize,
    gzip: bool,
}

/// Who we are for the server.
#[derive(Clone, Debug, PartialEq)]
enum Access {
    Everybody,
    Basic { user: String, password: Secret },
    ApiKey(Secret),
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq)]
struct Names {
    index: Template,
    /// `None`: made from the key.
    id: Option<Template>,
    routing: Option<Template>,
    pipeline: Option<String>,
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
        let gzip = section.or("gzip", false);
        Some(Self {
            url: read_url(section)?,
            http,
            access,
            names,
            max_request_bytes: usize::try_from(max).unwrap_or(usize::MAX).max(1),
            gzip,
        })
    }
}

impl Access {
    fn read(section: &Section) -> Self {
        let (user, key) = (section.optional::<String>("user"), section.secret("apiKey"));
        let password = section.secret("password");
        match (user, password, key) {
            (None, None, None) => Self::Everybody,
            (None, None, Some(key)) => Self::ApiKey(key),
            (Some(user), Some(password), None) => Self::Basic { user, password },
            _ => {
                let remedy = "write user and password, or apiKey alone";
                section.note("", "does not say who we are", remedy);
                Self::Everybody
            }
        }
    }
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
fn default_index() -> Template {
    Template::new("{schema}-{table}").expect("it is a template")
}

/// The target.
pub(crate) struct Elasticsearch {
    config: ElasticsearchConfig,
    client: SearchClient,
}

impl Elasticsearch {
    /// # Errors
    ///
    /// When the machine has no usable trust store.
    pub(crate) fn new(config: &ElasticsearchConfig, means: Means) -> Result<Self, String> {
        let client = SearchClient::new(config, means.counts)?;
        Ok(Self { config: config.clone(), client })
    }
}

#[async_trait]
impl Target for Elasticsearch {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (operations, mut unusable) = Operations::of(wanted, &self.config.names);
        for request in operations.requests(self.config.max_request_bytes) {
            let refused = self.client.bulk(&request).await?;
            unusable.extend(refused);
        }
        Ok(unusable)
    }

    async fn check(&self, _tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        self.client.look().await
    }
}
