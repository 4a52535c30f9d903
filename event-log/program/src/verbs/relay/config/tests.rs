//! What a config of relays may say, and how its mistakes are reported.

use std::path::Path;

use service::config::commented::{
    blocks_of_docs, commented_keys, is_wrong, plain_keys, with_table, wrong_keys,
};

use super::*;

const SHIPPED: &str = include_str!("../../../../../../config/event-log-relay.toml");

fn parse(text: &str) -> Result<Vec<NamedRelay>, String> {
    let file = File::parse(Path::new("r.toml"), text).map_err(|mistakes| mistakes.to_string())?;
    let relays = read(&file, None);
    file.finish(relays).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_relay_with_a_source_and_a_handler_has_the_documented_defaults() {
    let relays = parse("[relay.a]\nfrom = 'h:1'\nhandler = { exec = ['true'] }\n").unwrap();
    let config = &relays[0].config;
    assert_eq!((&*config.name, &*config.stream), ("a", "dbevents"));
    assert_eq!((config.batch_size, config.batch_bytes), (128, 8 << 20));
    assert_eq!((config.start, config.on_gone), (Start::Earliest, OnGone::Stop));
    let relays = parse(
        "[relay.b]\ndirectory = 'd'\nstart = '2026-03-01'\ntypes = [1101]\nnotOrigins = [7]\n\
         handler = { file = { directory = 'out' } }\n",
    )
    .unwrap();
    let config = &relays[0].config;
    let RelaySource::Directory(Directory { state, .. }) = &config.source else {
        panic!("no files")
    };
    assert_eq!(state, Path::new("data/event-log-relay/b.json"));
    assert_eq!((&config.choice.kinds, &config.choice.not_origins), (&vec![1101], &vec![7]));
    assert_eq!(config.batch_size, 1000);
    assert!(matches!(config.start, Start::Time(1_772_323_200_000)));
}

#[test]
fn all_mistakes_are_told_with_what_to_write() {
    let said = parse(
        "[relay.a]\ntypes = 7\nstart = 'soon'\nbatchSize = 0\nwhat = 1\n\
         [relay.'b/c']\nfrom = 'x'\ndirectory = 'y'\nhandler = { mysql = { host = 'h' } }\n\
         [relay.d]\nfrom = 'x'\nhandler = { exec = ['/no/such'] }\n",
    )
    .err()
    .unwrap();
    for expected in [
        "relay.a.handler: is missing",
        "relay.a.from: is missing; set from",
        "relay.a.types: is no list of numbers",
        "relay.a.start: is not known; write earliest",
        "relay.a.batchSize: 0 is out of range",
        "relay.a.what: is not a known key",
        "relay.b/c: cannot be the name of a relay",
        "relay.b/c.from: is set beside directory",
        "relay.b/c.handler.mysql: needs what only dts tells",
        "relay.d.handler.exec: \"/no/such\" is not an executable file",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    assert!(parse("").err().unwrap().contains("add a table [relay.NAME]"));
}

/// What a config means. There must be a relay.
fn meaning(text: &str) -> Result<String, String> {
    let more = "\n[relay.x]\nfrom = 'h:1'\nhandler = { exec = ['true'] }\n";
    let relays =
        parse(&if text.contains("\n[relay.") { text.to_owned() } else { text.to_owned() + more });
    relays.map(|relays| {
        let parts = |relay: NamedRelay| format!("{:?} {:?}", relay.config, relay.handler);
        relays.into_iter().map(parts).collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn every_key_of_the_config_that_we_ship_is_known_and_shows_its_default() {
    assert_eq!(plain_keys(SHIPPED), Vec::<String>::new());
    assert_eq!(meaning(SHIPPED), meaning(""));
    let keys = commented_keys(SHIPPED);
    assert_eq!(wrong_keys(&keys, meaning), Vec::<String>::new());
    let defaults = keys.iter().filter(|key| key.shows_default).count();
    assert_eq!((defaults, keys.len()), (11, 23));
}

#[test]
fn the_relays_of_the_docs_have_every_key_right() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let blocks = blocks_of_docs(repository).unwrap().into_iter();
    let ours: Vec<String> = blocks.filter(|block| block.contains("[relay.")).collect();
    assert!(!ours.is_empty());
    for block in ours {
        let said = meaning(&block).err().unwrap_or_default();
        assert!(!is_wrong(&said), "{block}: {said}");
    }
}

#[test]
fn the_relay_that_we_ship_works_when_its_lines_are_taken_in() {
    for handler in ["exec = ", "http = ", "elasticsearch = ", "file = ", "redis = "] {
        let text = with_table(SHIPPED, "relay.my-first", handler);
        let read = |text: &str| {
            let without = |unwanted: &str| {
                let lines = text.lines().filter(|line| !line.starts_with(unwanted));
                lines.collect::<Vec<_>>().join("\n")
            };
            parse(&without("directory = ")).map_err(|said| format!("{handler} {said}"))
        };
        let said = read(&text).err().unwrap_or_default();
        // `state` goes with `directory` alone.
        assert!(said.is_empty() || said.contains("1 mistake\n  relay.my-first.state"), "{said}");
    }
}
