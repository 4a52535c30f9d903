//! Servers that let us in and are then silent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dts::{
    config::{Config, Start},
    replica::{self, AtEnd, Conn, Server, Stream},
};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    proxy::Proxy,
};
use mysql_async::{Opts, OptsBuilder};

/// A proxy in front of the shared server, and a config that reads through it.
async fn proxied(test: &str) -> Result<(Site, Proxy, Config)> {
    let url = Opts::from_url(&e2e::servers::mysql_97_url())?;
    let proxy = Proxy::start(format!("127.0.0.1:{}", url.tcp_port())).await?;
    let site = Site::new(test)?;
    site.configure_dts(&proxy.address(), "silent")?;
    let config = Config::open(&site.path("dts.toml"))?;
    Ok((site, proxy, config))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_ends_and_closes_its_connection() -> Result<()> {
    let (site, proxy, config) = proxied("silent-question").await?;
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(config.source.port)
        .user(Some("dts"))
        .pass(Some("dts"))
        .prefer_socket(false);
    for bytes_of_the_answer in [0, 40] {
        proxy.silence_after(u64::MAX);
        let client = mysql_async::Conn::new(opts.clone()).await?;
        let mut conn = Conn::from(client).waiting(Duration::from_millis(500));
        let one: Option<u8> = conn.query_first("SELECT 1").await?;
        ensure!(one == Some(1), "{one:?}");
        // The answer does not begin; or it begins, and does not end.
        proxy.silence_after(proxy.answered() + bytes_of_the_answer);
        let asked = conn.query_first::<String, _>("SHOW VARIABLES").await;
        let said = asked.err().context("it was answered")?.to_string();
        ensure!(said.contains("does not answer"), "{said}");
        let again = conn.query_drop("SELECT 2").await.err().context("it was answered")?;
        ensure!(again.to_string().contains("an earlier question"), "{again}");
        drop(conn);
        wait_until("the connection is closed", PATIENCE, async || proxy.open() == 0).await?;
    }
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_look_for_the_first_event_for_as_long_as_it_answers_questions() -> Result<()> {
    let (site, proxy, config) = proxied("silent-search").await?;
    let open = async || -> Result<Stream> {
        proxy.hold_dumps(true);
        let conn = replica::connect(&config.source).await?;
        let mut conn = conn.waiting(Duration::from_secs(5));
        let server = Server::ask(&mut conn, &config.source).await?;
        let from =
            replica::resolve_start(&mut conn, &config.source, &server, &Start::Latest).await?;
        Ok(Stream::open(conn, &config.source, &from, AtEnd::Wait).await?)
    };
    let mut stream = open().await?;
    // Longer than a server that has begun to send may be silent.
    let early = tokio::time::timeout(Duration::from_secs(17), stream.next()).await;
    ensure!(early.is_err(), "the server is still looking: {early:?}");
    proxy.hold_dumps(false);
    let first = tokio::time::timeout(PATIENCE, stream.next()).await??;
    ensure!(first.is_some(), "the first event comes");
    drop(stream);

    let mut stream = open().await?;
    proxy.silence_after(0);
    let said = tokio::time::timeout(PATIENCE * 2, stream.next()).await?;
    let said = said.err().context("it was sent something")?.to_string();
    ensure!(said.contains("does not answer any more"), "{said}");
    site.remove()
}
