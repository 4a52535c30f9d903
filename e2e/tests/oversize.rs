//! A row that is larger than the bus takes: the stream stops and says where, or goes on with keys.

use anyhow::{Result, ensure};
use e2e::{
    processes::Process,
    programs::{REFUSED, Site},
    recording::Event,
    running::Source,
};

const LARGE_BYTES: u64 = 20 << 20;

/// 64 MB, and four times the largest row change as MySQL logs it.
fn check_memory(dts: &Process, change_bytes: u64) -> Result<()> {
    let (peak, change) = (dts.peak_resident_kib()? >> 10, change_bytes >> 20);
    println!("peak RSS of dts after a row change of {change} MiB: {peak} MiB");
    ensure!(peak < 64 + 4 * change, "{peak} MiB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_large_stops_the_stream_or_comes_as_its_key() -> Result<()> {
    let large = format!("INSERT INTO oversize.t VALUES (2, 1, REPEAT('x', {LARGE_BYTES}))");
    let statements = [
        "CREATE DATABASE oversize",
        "CREATE TABLE oversize.t (id INT PRIMARY KEY, a INT, text LONGTEXT)",
        "BEGIN",
        "INSERT INTO oversize.t VALUES (1, 1, 'small')",
        &large,
        "INSERT INTO oversize.t VALUES (3, 1, 'small')",
        "COMMIT",
    ];
    let source = Source::start("oversize").await?.capture("oversize", &statements).await?;
    let site = &source.site;
    let mut dts = site.start_dts()?;
    let status = dts.ended().await?;
    ensure!(status.code() == Some(REFUSED), "{status}\n{}", dts.output());
    for part in ["a row of oversize.t at binlog.0000", ", transaction ", "2097", "onOversize"] {
        ensure!(dts.output().contains(part), "{part:?} is not in\n{}", dts.output());
    }

    site.amend("dts.toml", "kind = \"log\"", "kind = \"log\"\nonOversize = \"keys-only\"")?;
    let (dts, _worker) = (site.start_dts()?, site.start_worker()?);
    site.wait_for_handled(3).await?;
    check_memory(&dts, LARGE_BYTES)?;
    let statements = [
        "UPDATE oversize.t SET a = 2 WHERE id = 2",
        "UPDATE oversize.t SET id = 4 WHERE id = 2",
        "DELETE FROM oversize.t WHERE id = 4",
        "INSERT INTO oversize.t VALUES (5, 1, 'small')",
    ];
    source.execute(&statements).await?;
    let recording = site.wait_for_handled(8).await?;
    // An update has the row before and the row after.
    check_memory(&dts, 2 * LARGE_BYTES)?;
    recording.check_ids()?;
    let mut events: Vec<&Event> = recording.calls.iter().flat_map(|call| &call.events).collect();
    events.sort_by_key(|event| event.bus.offset);
    check(&events)?;
    check_report(site, &dts).await?;
    source.remove()
}

/// Every record is accounted for; the metrics count the large ones, and the log has a line for one.
async fn check_report(site: &Site, dts: &Process) -> Result<()> {
    let warnings = dts.output().matches("a record is larger than maxRowBytes").count();
    ensure!(warnings == 1, "{warnings} warnings:\n{}", dts.output());
    site.wait_for_exactly(8).await?;
    let metrics = site.ask_dts_text("/metrics").await?;
    ensure!(metrics.contains("dts_records_oversized_total 5"), "{metrics}");
    Ok(())
}

/// Each event in order: the rows 2 and 4 are large, the others are whole.
fn check(events: &[&Event]) -> Result<()> {
    let brief = |event: &&Event| {
        format!("{} {} {}", event.action, event.pk.get(), event.oversized.is_some())
    };
    let briefs: Vec<String> = events.iter().map(brief).collect();
    ensure!(
        briefs
            == [
                r#"insert {"id":1} false"#,
                r#"insert {"id":2} true"#,
                r#"insert {"id":3} false"#,
                r#"update {"id":2} true"#,
                r#"delete {"id":2} true"#,
                r#"insert {"id":4} true"#,
                r#"delete {"id":4} true"#,
                r#"insert {"id":5} false"#,
            ],
        "{briefs:#?}"
    );
    for event in events {
        let Some(bytes) = event.oversized else { continue };
        // An update would have had the row before only for what changed.
        ensure!((LARGE_BYTES..LARGE_BYTES + 1000).contains(&bytes), "{} has {bytes}", event.ev_id);
        ensure!(event.data.get() == event.pk.get() && event.old.is_none(), "{event:?}");
    }
    Ok(())
}
