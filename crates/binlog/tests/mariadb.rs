//! The same for MariaDB as for MySQL: the decoder gives the same values as a SELECT.

use anyhow::Result;
use e2e::{oracle::mariadb_samples, programs::seed, source};

use crate::decode::compare_all;

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mariadb_1011() -> Result<()> {
    compare(&e2e::servers::mariadb_1011_url()).await
}

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mariadb_118() -> Result<()> {
    compare(&e2e::servers::mariadb_118_url()).await
}

async fn compare(url: &str) -> Result<()> {
    let samples = mariadb_samples(&mut source::connect(url).await?).await?;
    compare_all(url, seed(), samples).await
}
