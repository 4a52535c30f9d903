//! Elasticsearch and OpenSearch: each row is a document, by the `_bulk` API.
//!
//! The number of the change, `Seq`, is the document's external version. So a change that comes
//! again, or late, never replaces a newer one: the server answers 409, and the change is done. The
//! server forgets the version of a deleted document after `index.gc_deletes` (60 seconds).

mod answer;
mod bulk;
mod client;
mod config;
mod health;
mod hosts;
mod indexes;
mod look;
mod mappings;
mod merge;
mod place;
mod template_body;
mod template_config;
mod template_look;
mod templates;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use async_trait::async_trait;
use full_sync::Table;
use handler::Failure;
use tracing::warn;

pub(crate) use self::config::ElasticsearchConfig;
use self::{
    bulk::{Document, Operation},
    client::SearchClient,
    indexes::{Found, Indexes, NO_ALIAS},
    merge::{Extent, Merged},
    template_body::Making,
    templates::Templates,
};
use crate::{
    change::{Change, Unusable},
    figures::Written,
    host_look::HostLook,
    shape::Wanted,
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The target.
pub(crate) struct Elasticsearch {
    config: ElasticsearchConfig,
    means: Means,
    client: SearchClient,
    indexes: Indexes,
    templates: Templates,
}

fn unknown((schema, table): (&str, &str), why: &str) -> Failure {
    Failure::unclear(format!("the columns of {schema}.{table} are not known: {why}"))
}

fn tell_no_alias(index: &str) {
    warn!(
        index,
        remedy = NO_ALIAS,
        "`template.rollover` is set, and this is an index and no alias"
    );
}

/// The definitions of the tables of some changes, as far as they are told.
type Definitions<'a> = BTreeMap<(&'a str, &'a str), Option<Arc<Table>>>;

/// Whether a row has columns that its table had not when it was told.
fn has_more(change: &Change<'_>, table: &Table) -> bool {
    table.columns.as_ref().is_some_and(|columns| change.data.iter().len() > columns.len())
}

impl Elasticsearch {
    /// # Errors
    ///
    /// When the machine has no usable trust store.
    pub(crate) fn new(config: &ElasticsearchConfig, means: Means) -> Result<Self, String> {
        let client = SearchClient::new(config, Arc::clone(&means.counts))?;
        let (indexes, templates) = (Indexes::default(), Templates::default());
        Ok(Self { config: config.clone(), means, client, indexes, templates })
    }

    /// The definitions of the tables that rows are of.
    async fn definitions<'a>(&self, wanted: &'a [Wanted<'a>]) -> Result<Definitions<'a>, Failure> {
        let (mut definitions, mut asked_again) = (Definitions::new(), BTreeSet::new());
        let tables = &self.means.tables;
        for Wanted { change, .. } in wanted {
            let names = (&*change.read.schema, &*change.read.table_name);
            let known = match definitions.entry(names) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let told = tables.table(names.0, names.1).await;
                    place.insert(told.map_err(|why| unknown(names, &why))?)
                }
            };
            // It may be older than the row.
            let is_old = known.as_deref().is_some_and(|known| has_more(change, known));
            if self.config.mappings && is_old && asked_again.insert(names) {
                let told = tables.table_now(names.0, names.1).await;
                *known = told.map_err(|why| unknown(names, &why))?;
            }
        }
        Ok(definitions)
    }

    /// What is made for a table.
    fn wanted<'w>(&'w self, table: &'w Table) -> indexes::Wanted<'w> {
        let rollover = self.config.template.as_ref().is_some_and(|template| template.rollover);
        indexes::Wanted { table, shape: &self.means.shape, fields: &self.config.fields, rollover }
    }

    /// Makes the index templates of tables, and changes them where tables were altered.
    async fn prepare_templates(&self, definitions: &Definitions<'_>) -> Result<(), Failure> {
        let Some(config) = &self.config.template else { return Ok(()) };
        for ((schema, table), definition) in definitions {
            let Some(definition) = definition else { continue };
            let identity = &config.of(&self.config.names.index, (*schema, *table));
            let making = Making { config, identity, wanted: self.wanted(definition) };
            self.templates.prepare(&self.client, definition, making).await?;
        }
        Ok(())
    }

    /// Makes the indexes that are not there.
    async fn prepare(
        &self,
        documents: &[Document<'_>],
        definitions: &Definitions<'_>,
    ) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        for Document { place, last, .. } in documents {
            if self.indexes.knows(&place.index) || !seen.insert(&place.index) {
                continue;
            }
            let (schema, table) = (&*last.change.read.schema, &*last.change.read.table_name);
            let Some(definition) = definitions.get(&(schema, table)).and_then(Option::as_ref)
            else {
                return Err(Failure::unclear(format!(
                    "dts has not told the columns of {schema}.{table}, which `mappings` needs: see \
                     that it runs in this version, and has the right SELECT on the table"
                )));
            };
            let wanted = self.wanted(definition);
            match self.indexes.prepare(&self.client, &place.index, wanted).await? {
                Found::AsExpected => {}
                Found::Made => self.tell_made((schema, table), &place.index),
                Found::MadeAnew => self.means.tell_made_anew((schema, table), &place.index),
                // The template has given it its types.
                Found::MadeByServer if self.config.template.is_some() => {
                    self.means.tell_made_anew((schema, table), &place.index);
                }
                Found::NoAlias => tell_no_alias(&place.index),
                Found::MadeByServer => self.tell_made_by_server((schema, table), &place.index),
            }
        }
        Ok(())
    }

    /// Looks for indexes that the server makes by itself.
    async fn meet(&self, documents: &[Document<'_>]) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        for Document { place, last, .. } in documents {
            if seen.insert(&place.index)
                && self.indexes.meet(&self.client, &place.index).await? == Found::Made
            {
                let read = &last.change.read;
                self.tell_made((&*read.schema, &*read.table_name), &place.index);
            }
        }
        Ok(())
    }

    /// What was seen at the server is looked at again.
    fn doubt(&self) {
        self.indexes.doubt();
        self.templates.doubt();
    }

    /// An index for each day begins without rows.
    fn tell_made(&self, source: (&str, &str), index: &str) {
        if self.config.names.index.is_of_table() {
            self.means.tell_made(source, index);
        }
    }

    fn tell_made_by_server(&self, source: (&str, &str), index: &str) {
        warn!(
            index,
            remedy = format!(
                "DELETE /{index}: the sink makes it with mappings, when a row changes; then run {}",
                self.means.full_sync_of(source)
            ),
            "an index of the target was deleted, and the server has made it anew: its types are \
             guessed, and it has only what changes from now on"
        );
    }

    /// Completes the rows that lack columns.
    async fn complete(
        &self,
        wanted: &[Wanted<'_>],
        documents: &[Document<'_>],
        definitions: &Definitions<'_>,
    ) -> Result<Merged, Failure> {
        let extent = |wanted: &Wanted<'_>| {
            let names = (&*wanted.change.read.schema, &*wanted.change.read.table_name);
            let table = definitions.get(&names).and_then(Option::as_deref);
            Extent::of(&wanted.change, table)
        };
        let needed = merge::needed(documents, extent);
        if needed.is_empty() {
            return Ok(Merged::default());
        }
        let places: Vec<_> =
            needed.iter().filter_map(|at| documents.get(*at)).map(|of| &of.place).collect();
        let found = self.client.fetch(&places).await?;
        let found: BTreeMap<_, _> = needed.into_iter().zip(found).collect();
        merge::merge(wanted, documents, &found, extent).map_err(|error| {
            Failure::unclear(format!("a document of the server is not understood: {error}"))
        })
    }

    /// Brings documents to their indexes; gives those that are refused.
    async fn bring(
        &self,
        wanted: &[Wanted<'_>],
        documents: &[Document<'_>],
    ) -> Result<Vec<Unusable>, Failure> {
        let definitions = self.definitions(wanted).await?;
        match self.config.mappings {
            true => {
                self.prepare_templates(&definitions).await?;
                self.prepare(documents, &definitions).await?;
            }
            false => self.meet(documents).await?,
        }
        let Merged { texts, absent, unusable: mut lost } =
            self.complete(wanted, documents, &definitions).await?;
        let (mut operations, mut last) = (Vec::with_capacity(documents.len()), Vec::new());
        let mut unusable = Vec::new();
        for (at, document) in documents.iter().enumerate() {
            if let Some(lost) = lost.remove(&at) {
                unusable.push(lost);
                continue;
            }
            if absent.contains(&at) {
                continue;
            }
            let text = texts.get(&at).map(String::as_str);
            match Operation::of(document, text, &self.config.names) {
                Ok(one) if !texts.is_empty() && one.leaves_its_key() => last.push(one),
                Ok(one) => operations.push(one),
                Err(why) => unusable.push(why),
            }
        }
        let absent = absent.len() as u64;
        self.means.counts.wrote(Written { absent, ..Written::default() });
        for some in [&operations, &last] {
            let refused = self.client.bulk(some).await;
            unusable.extend(refused.inspect_err(|_| self.doubt())?);
        }
        Ok(unusable)
    }
}

#[async_trait]
impl Target for Elasticsearch {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (documents, unusable) = Document::of(wanted, &self.config.names);
        match self.bring(wanted, &documents).await {
            Ok(more) => Ok([unusable, more].concat()),
            Err(failure) => {
                let indexes: BTreeSet<&str> =
                    documents.iter().map(|document| &*document.place.index).collect();
                let indexes: Vec<&str> = indexes.into_iter().collect();
                Err(self.client.or_red(failure, &indexes).await)
            }
        }
    }

    fn templates(&self) -> Vec<&Template> {
        self.config.names.templates().collect()
    }

    fn needs_tables(&self) -> bool {
        self.config.mappings
    }

    async fn hosts(&self) -> Vec<HostLook> {
        self.client.hosts.each().await
    }

    async fn check(&self, tables: &[Arc<Table>]) -> Vec<TargetFinding> {
        let mut findings = look::look(&self.client, &self.config, tables).await;
        if let (Some(config), [server, ..]) = (&self.config.template, &findings[..])
            && !server.is_wrong
        {
            let templates = tables.iter().map(|table| {
                let (index, names) = (&self.config.names.index, (&*table.schema, &*table.table));
                let (identity, wanted) = (config.of(index, names), self.wanted(table));
                let index = index.of_table(names.0, names.1);
                template_look::Looked { identity, wanted, index }
            });
            let templates: Vec<_> = templates.collect();
            findings.extend(template_look::look(&self.client, config, &templates).await);
        }
        findings
    }
}
