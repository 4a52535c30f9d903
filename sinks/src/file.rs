//! Files: each change is a line, as JSON or as CSV.
//!
//! A batch is on disk, and synced, before it is done. A file that is being written has a name that
//! ends in `.part`. When it is large or old enough, it is compressed if that is wanted, and gets
//! its name in one step: who sees a file without `.part` sees all of it.

mod folder;
mod line;
mod names;
mod part;
mod recovery;
mod writers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytesize::ByteSize;
use handler::Failure;
use service::config::Section;

use self::{
    line::Lines,
    writers::{Closer, Writers},
};
use crate::{
    change::Unusable,
    shape::{Shape, Wanted},
    target::{Means, Target, TargetFinding},
    template::Template,
};

/// The config of this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FileConfig {
    name: Template,
    form: Form,
    place: Place,
}

/// How a change is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The change as an event in JSON.
    Events,
    /// Its columns in JSON, with what tells one change from another.
    Rows,
    /// The same as CSV; NULL is this text.
    Csv { null: String },
}

/// Where files are, and when one is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    /// What the names of files that are being written end with, before `.part`.
    ending: &'static str,
    max_bytes: u64,
    max_age: Duration,
    compression: Compression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl FileConfig {
    /// Reads the keys; mistakes are noted.
    pub(crate) fn read(section: &Section) -> Option<Self> {
        let form = Form::read(section);
        let rotate = section.section("rotate");
        let max_bytes = rotate.or("size", ByteSize::mib(64)).as_u64();
        let max_age = rotate.or("time", Duration::from_secs(3600));
        if max_bytes == 0 || max_age < Duration::from_secs(1) {
            rotate.note("", "is too little", r#"write at least size = "1KiB" and time = "1s""#);
        }
        let compression = match section.choice("compress", ["none", "gzip", "zstd"]) {
            Some(1) => Compression::Gzip,
            Some(2) => Compression::Zstd,
            _ => Compression::None,
        };
        let directory = section.required("directory", PathBuf::new());
        let name = match section.has("name") {
            true => Template::read(section, "name")?,
            false => Template::new("{schema}.{table}").ok()?,
        };
        let ending = form.ending();
        Some(Self {
            name,
            form,
            place: Place { directory, ending, max_bytes, max_age, compression },
        })
    }
}

impl Form {
    fn read(section: &Section) -> Self {
        let is_csv = section.choice("format", ["jsonl", "csv"]) == Some(1);
        if is_csv {
            if section.has("content") {
                section.note("content", "has a meaning only with format = \"jsonl\"", "remove it");
            }
            return Self::Csv { null: section.or("null", String::new()) };
        }
        match section.choice("content", ["event", "row"]) {
            Some(1) => Self::Rows,
            _ => Self::Events,
        }
    }

    fn ending(&self) -> &'static str {
        match self {
            Self::Events | Self::Rows => ".jsonl",
            Self::Csv { .. } => ".csv",
        }
    }
}

/// The target.
pub(crate) struct Files {
    name: Template,
    form: Form,
    shape: Arc<Shape>,
    writers: Arc<Writers>,
    closer: Closer,
}

impl Files {
    pub(crate) fn new(config: &FileConfig, means: Means) -> Self {
        Self {
            name: config.name.clone(),
            form: config.form.clone(),
            shape: means.shape,
            writers: Arc::new(Writers::new(config.place.clone(), means.counts)),
            closer: Closer::default(),
        }
    }
}

#[async_trait]
impl Target for Files {
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        self.closer.begin(&self.writers);
        let mut lines = Lines::default();
        let mut unusable = Vec::new();
        for one in wanted {
            if let Err(why) = lines.push(one, &self.name, &self.form, &self.shape) {
                unusable.push(one.change.misfit(why));
            }
        }
        let writers = Arc::clone(&self.writers);
        let written = tokio::task::spawn_blocking(move || writers.write(lines)).await;
        match written {
            Ok(Ok(())) => Ok(unusable),
            Ok(Err(wrong)) => {
                let said = wrong.path.display().to_string();
                Err(Failure::unclear(wrong.to_string()).saying(said))
            }
            Err(error) => Err(Failure::unclear(format!("writing files ended: {error}"))),
        }
    }

    fn templates(&self) -> Vec<&Template> {
        vec![&self.name]
    }

    async fn check(&self, _tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        let writers = Arc::clone(&self.writers);
        match tokio::task::spawn_blocking(move || writers.look()).await {
            Ok(finding) => vec![finding],
            Err(error) => vec![TargetFinding::wrong(error.to_string(), "see the log")],
        }
    }
}

#[cfg(test)]
mod tests;
