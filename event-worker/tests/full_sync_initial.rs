//! `start = "full-sync"`, and whom the rows of a full sync reach.

use event_bus::Batch;
use rustix::process::Signal;

use crate::{
    bus::{TOPIC, event},
    full_sync::StandIn,
    program::{Site, eventually, signal_process},
};

fn listener(site: &Site, id: &str, more: &str) -> String {
    let recorder = site.recorder(id, "echo true");
    format!("[listeners.{id}]\nhandler = {{ {recorder} }}\n{more}")
}

/// Appends events, some of them for one listener only.
async fn append(dts: &mut StandIn, events: &[(u64, Option<&str>)]) {
    let mut batch = Batch::default();
    for (id, listener) in events {
        let mut value = event(*id, "k", "insert");
        let mut headers = None;
        if let Some(listener) = listener {
            let origin = format!(r#""Origin":"full_sync","Listener":"{listener}""#);
            value = value.replace(r#""Origin":"binlog""#, &origin);
            headers = Some([("listener".to_owned(), (*listener).to_owned())].into());
        }
        let start = batch.buffer().len();
        batch.buffer().extend_from_slice(value.as_bytes());
        let range = start..batch.buffer().len();
        batch.push(TOPIC.into(), headers, start..start, range);
    }
    dts.producer.append(&batch, &[]).await.unwrap();
}

#[tokio::test]
async fn a_new_listener_asks_once_for_all_its_tables_when_its_place_is_kept() {
    let mut site = Site::new().await;
    site.configure(&listener(&site, "a", "start = 'full-sync'\nsubscribe = { shop = [] }\n"));
    let mut dts = StandIn::new(&mut site).await;
    append(&mut dts, &[(0, None)]).await;
    let program = site.run();
    let request = dts.request().await;
    let progress = site.bus().progress(&request.group, &Default::default()).await.unwrap();
    assert!(progress[0].committed.is_some(), "the bus keeps where it begins");
    assert!(request.initial && request.id == "initial:a", "{request:?}");
    assert_eq!(request.subscribe, [("shop".to_owned(), "*".to_owned())]);
    append(&mut dts, &[(1, None), (2, Some("a")), (3, Some("b"))]).await;
    site.wait_until_committed("a").await;
    assert_eq!(site.handled("a"), [1, 2]);

    // Neither a crash nor a restart asks again.
    signal_process(program.pid_of("a").await, Signal::KILL);
    program.wait_for("a", |view| view["restarts"] == 1 && view["state"] == "running").await;
    assert_eq!(program.stop().await, Some(0));
    let program = site.run();
    append(&mut dts, &[(4, None)]).await;
    site.wait_until_committed("a").await;
    assert_eq!(dts.request().await, request);

    // Another subscription does, for the tables that were not sent.
    site.configure(&listener(&site, "a", "start = 'full-sync'\nsubscribe = { shop = ['o*'] }\n"));
    assert_eq!(program.call("POST /api/v1/reload").await.0, 200);
    let mut again = request.clone();
    eventually("it asks again", async || {
        again = kept(&site).await;
        again.subscribe != request.subscribe
    })
    .await;
    assert_eq!((again.id, again.subscribe), (request.id, vec![("shop".into(), "o*".into())]));
    assert_eq!(program.stop().await, Some(0));
}

/// What the control table has, but for nodes and what listeners listen to.
async fn control(site: &Site) -> Vec<event_bus::ControlChange> {
    let mut kept = site.bus().control().await.unwrap().changes().await.unwrap();
    let others = [full_sync::LISTENING_PREFIX, "node/"];
    kept.retain(|(key, _)| !others.iter().any(|prefix| key.starts_with(prefix)));
    kept
}

/// The request that is kept now, and nothing else.
async fn kept(site: &Site) -> full_sync::Request {
    let kept = control(site).await;
    assert_eq!(kept.len(), 1, "the note that it is new is gone: {kept:?}");
    full_sync::Request::from_bytes(kept[0].1.as_ref().unwrap()).unwrap()
}

#[tokio::test]
async fn a_listener_that_is_killed_before_it_has_asked_asks_in_its_next_life() {
    let mut site = Site::new().await;
    // As it is left by a kill after it has joined its group, and before it asked.
    let config = |site: &Site, start: &str| listener(site, "a", &format!("start = '{start}'\n"));
    site.configure(&config(&site, "latest"));
    let mut dts = StandIn::new(&mut site).await;
    let note = ("listener/new/a".to_owned(), Some("{}".into()));
    site.bus().put_control(&[note]).await.unwrap();
    let program = site.run();
    program.pid_of("a").await;
    assert_eq!(program.stop().await, Some(0));
    site.configure(&config(&site, "full-sync"));
    let program = site.run();
    assert!(dts.request().await.initial);
    kept(&site).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_listener_that_has_run_before_is_told_how_it_gets_the_rows() {
    let mut site = Site::new().await;
    site.configure(&listener(&site, "a", "start = 'latest'\n"));
    let mut program = site.run();
    program.pid_of("a").await;
    site.configure(&listener(&site, "a", "start = 'full-sync'\n"));
    assert_eq!(program.call("POST /api/v1/reload").await.0, 200);
    program.logs(&["has run before", "event-worker full-sync start -t a"]).await;
    site.append(&["x"]).await;
    site.wait_until_committed("a").await;
    let had = [("listener/had/a".to_owned(), Some(r#"[["*","*"]]"#.into()))];
    assert_eq!(control(&site).await, had);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn of_a_listener_that_has_run_before_tables_that_are_added_are_sent() {
    let mut site = Site::new().await;
    let subscribe = |site: &Site, start: &str, tables: &str| {
        let more = format!("start = '{start}'\nsubscribe = {{ shop = {tables} }}\n");
        site.configure(&listener(site, "a", &more));
    };
    subscribe(&site, "earliest", "['orders']");
    let mut dts = StandIn::new(&mut site).await;
    append(&mut dts, &[(0, None)]).await;
    let program = site.run();
    site.wait_until_committed("a").await;
    let reload = async || assert_eq!(program.call("POST /api/v1/reload").await.0, 200);
    let asks = async |tables: &[&str]| {
        eventually("it asks for them", async || {
            let kept = control(&site).await.into_iter();
            let mut requests = kept.filter(|(key, _)| key.starts_with("full-sync/request/"));
            let request = requests.next().and_then(|(_, bytes)| bytes);
            let request = request.map(|bytes| full_sync::Request::from_bytes(&bytes).unwrap());
            request.is_some_and(|request| {
                let names = request.subscribe.iter().map(|(_, table)| table.as_str());
                request.initial && names.eq(tables.iter().copied())
            })
        })
        .await;
    };
    // The added table comes together with the other start, and another one later.
    subscribe(&site, "full-sync", "['orders', 'item']");
    reload().await;
    asks(&["item"]).await;
    subscribe(&site, "full-sync", "['orders', 'item', 'stock']");
    reload().await;
    asks(&["item", "stock"]).await;
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn rows_of_a_full_sync_reach_their_listener_whatever_it_filters_and_no_other() {
    let mut site = Site::new().await;
    let filter = "start = 'earliest'\nactions = ['delete']\ncolumns = ['status']\n";
    site.configure(&(listener(&site, "a", filter) + &listener(&site, "b", filter)));
    let mut dts = StandIn::new(&mut site).await;
    append(&mut dts, &[(0, None), (1, Some("a")), (2, Some("b")), (3, Some("c"))]).await;
    let program = site.run();
    for id in ["a", "b"] {
        site.wait_until_committed(id).await;
        // The log leaves out what is addressed to others.
        let view = program.wait_for(id, |view| view["filtered"] == 1).await;
        assert_eq!((&view["received"], &view["done"]), (&2.into(), &1.into()), "{view}");
    }
    assert_eq!((site.handled("a"), site.handled("b")), (vec![1], vec![2]));
    let text = std::fs::read_to_string(site.path("a")).unwrap();
    assert!(text.contains(r#""Origin":"full_sync","Listener":"a""#), "{text}");
    assert_eq!(program.stop().await, Some(0));
}
