//! What a config file may say, and how its mistakes are reported.

use std::{path::Path, time::Duration};

use event_bus::Start;
use service::config::commented::{
    blocks_of_docs, commented_keys, is_wrong, plain_keys, with_table, without_environment,
    wrong_keys,
};

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("l.toml"), text).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_listener_with_nothing_but_a_handler_has_the_documented_defaults() {
    let config = parse("[listeners.a]\nhandler = \"print\"\n").unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:12359");
    let listener = &config.listeners["a"];
    assert_eq!((listener.workers, listener.batch_size), (1, 128));
    assert_eq!((listener.batch_bytes, listener.max_buffer_bytes), (8 << 20, 64 << 20));
    assert_eq!((listener.start, listener.full_sync_first), (Start::Latest, false));
    assert_eq!(listener.retry.max, Duration::from_mins(5));
    assert_eq!(listener.actions, Actions { insert: true, update: true, delete: true });
    let subscription = listener.subscription("a", &config.bus);
    assert_eq!(subscription.group, "dbevents.listener.a");
    let wants = subscription.topics.matcher();
    assert!(wants("dbevents.weixin.wx_config") && !wants("other.weixin.wx_config"));
}

#[test]
fn a_sink_gets_larger_batches_unless_the_config_says_how_large() {
    let sizes = |more: &str| {
        let handler = "handler = { redis = { url = 'redis://x', delete = 'a' } }";
        let listener = &parse(&format!("[listeners.a]\n{handler}\n{more}")).unwrap().listeners["a"];
        (listener.workers, listener.batch_size)
    };
    assert_eq!(sizes(""), (1, 1000));
    assert_eq!(sizes("batchSize = 128"), (1, 128));
}

#[test]
fn every_form_of_every_key_is_read() {
    let config = parse(
        "[listeners.a]\nsubscribe = { weixin = ['wx_*', 'b'], all = [] }\nactions = ['delete']\n\
         columns = ['status']\nstart = { time = '2026-01-31T12:00:00Z' }\nlifeTime = '1day'\n\
         handler = { http = 'https://x/y', timeout = '5s', headers = { A-b = 'c' }, \
         hmacSecret = 's', proxy = 'off' }\n\
         [listeners.b]\nstart = 'earliest'\n\
         handler = { exec = ['sh', '-c', 'x'], timeout = '1m', env = { A = 'b' } }\n\
         fullSync = false\nbigint = 'string'\nshowOutput = false\n\
         [listeners.c]\nstart = 'full-sync'\nhandler = 'print'\n",
    )
    .unwrap();
    let a = &config.listeners["a"];
    let pair = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
    assert_eq!(a.subscribe, [pair("all", "*"), pair("weixin", "wx_*"), pair("weixin", "b")]);
    assert!(matches!(a.start, Start::Time(_)) && a.actions.delete && !a.actions.insert);
    assert!(matches!(&a.handler, HandlerConfig::Http(http)
        if http.headers[0].0 == "A-b" && http.proxy == Proxy::Off));
    assert!(a.full_sync && a.show_output && a.big_int == BigInt::Number);
    let b = &config.listeners["b"];
    assert!(!b.full_sync && !b.show_output && b.big_int == BigInt::Text);
    let c = &config.listeners["c"];
    assert_eq!((c.start, c.full_sync_first), (Start::Latest, true));
    assert!(matches!(&config.listeners["b"].handler, HandlerConfig::Exec(exec)
        if exec.command == ["sh", "-c", "x"] && exec.timeout == Duration::from_mins(1)
            && exec.environment[0].0 == "A"));
}

#[test]
fn all_mistakes_of_a_bad_file_are_told_at_once() {
    let text = parse(
        "[listen]\naddress = '0.0.0.0:1'\nadress = 1\n[bus]\nkind = 'pigeon'\n\
         [listeners.'a.b']\nhandler = 'print'\n\
         [listeners.c]\nworkers = 0\nbatchSize = -1\nstart = 'full'\nactions = ['upsert']\n\
         retry = { min = '5s', max = '1s', factor = 0.5 }\npark = { after = 0, maxBytes = '16MiB' }\nversion = -1\n\
         [listeners.d]\nhandler = { http = 'ftp://x', timeout = '0s' }\nmaxBufferBytes = '1B'\n\
         [listeners.e]\nhandler = { http = 'http://u:p@x', exec = ['a'] }\n\
         [listeners.f]\nhandler = { exec = [], env = { 'A=B' = 'x' } }\nsubscribe = {}\n\
         [listeners.g]\nstart = 'full-sync'\nfullSync = false\nbigint = 'text'\n\
         handler = { http = 'http://x', proxy = ':', caFile = '/no/such.pem' }\n",
    )
    .unwrap_err();
    for expected in [
        "listen.token: is missing, while 0.0.0.0:1 can be reached from outside",
        "listen.adress: is not a known key; did you mean address?",
        "bus.kind: \"pigeon\" is not known; write one of log, kafka",
        "listeners.a.b: cannot be the name of a listener",
        "listeners.c.workers: 0 is out of range; write a number from 1 to 256",
        "listeners.c.batchSize: -1 does not fit",
        "listeners.c.start: is not known; write \"latest\", \"earliest\", \"full-sync\" or {",
        "listeners.c.actions: \"upsert\" is not known",
        "listeners.c.retry.max: is less than min",
        "listeners.c.retry.factor: is less than 1",
        "listeners.c.handler: is missing",
        "listeners.c.park.after: 0 is out of range; write a number of attempts, like 20, or",
        "listeners.c.park.maxBytes: is more than an event log keeps; write 12.0 MiB or less",
        "listeners.d.handler.http: \"ftp://x\" is not an http or https URL",
        "listeners.d.handler.timeout: is too short",
        "listeners.d.maxBufferBytes: 1 B is out of range",
        "listeners.e.handler: has both http and exec",
        "listeners.f.handler.exec: is empty",
        "listeners.f.handler.env.A=B: cannot be the name of a variable",
        "listeners.f.subscribe: is empty",
        "listeners.g.fullSync: is false, while `start` asks for full syncs",
        "listeners.g.bigint: \"text\" is not known; write one of number, string",
        "listeners.g.handler.proxy: is not the URL of a proxy",
        "listeners.g.handler.caFile: cannot read /no/such.pem",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn a_file_without_listeners_says_how_to_add_one() {
    assert!(parse("").unwrap_err().contains("add a table [listeners.NAME]"));
}

/// Listeners in the groups default, `search` and `cache`; `search` has an address of its own.
const GROUPS: &str = "[supervisor]\nuser = 'worker'\nuserGroup = 'workers'\npidFile = 'w.pid'\n\
    [groups.search]\naddress = '127.0.0.1:2'\n[listeners.a]\nhandler = 'print'\n\
    [listeners.b]\nhandler = 'print'\ngroup = 'search'\n\
    [listeners.c]\nhandler = 'print'\ngroup = 'cache'\n";

fn only(groups: &[&str]) -> Result<Config, Error> {
    parse(GROUPS).unwrap().only(&GroupChoice::new(groups.iter().map(|name| (*name).to_owned())))
}

#[test]
fn a_process_with_groups_has_their_listeners_their_addresses_and_files_of_its_own() {
    let shown = |groups: &[&str]| {
        let config = only(groups).unwrap();
        let ids: Vec<&str> = config.chosen().map(|(id, _)| id.as_str()).collect();
        let listens: Vec<String> =
            config.listens().iter().map(|listen| listen.address.to_string()).collect();
        let files = [&config.directory, &config.pid_file, &config.log_file];
        let files = files.map(|path| path.display().to_string());
        (ids.join(" "), listens.join(" "), files.join(" "))
    };
    let (listen, own) = ("127.0.0.1:12359", "127.0.0.1:2");
    let all = shown(&[]);
    assert_eq!((&*all.0, &*all.1), ("a b c", &*format!("{listen} {own}")));
    assert_eq!(all.2, "data/event-worker w.pid data/run/event-worker.log");
    let search = shown(&["search"]);
    assert_eq!((&*search.0, &*search.1), ("b", own));
    let files =
        "data/event-worker/groups/search w-search.pid data/run/event-worker-search.log".to_owned();
    assert_eq!(search.2, files);
    let two = shown(&["search", "cache"]);
    assert_eq!((&*two.0, &*two.1), ("b c", &*format!("{own} {listen}")));
    assert_eq!(two, shown(&["cache", "search", "cache"]));
    assert!(two.2.starts_with("data/event-worker/groups/cache+search "), "{}", two.2);
}

#[test]
fn a_group_that_no_listener_is_in_is_refused_with_those_that_there_are() {
    let refused = only(&["search", "serach"]).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("group serach; the groups are: cache, default, search"), "{said}");
    assert_eq!(refused.exit().code(), 64);
    let text = parse(
        "[listen]\ntoken = ''\n[groups.a]\n[groups.b]\naddress = 'b'\n\
         [groups.c]\naddress = '0.0.0.0:1'\nadress = 1\n[supervisor]\nuserGroup = 'x'\n\
         [listeners.b]\nhandler = 'print'\ngroup = 'b'\n\
         [listeners.d]\nhandler = 'print'\ngroup = 'd/d'\n",
    )
    .unwrap_err();
    for expected in [
        "groups.a: is a group without listeners; give a listener group = \"a\"",
        "groups.b.address: \"b\" is not an address",
        "groups.c.adress: is not a known key; did you mean address?",
        "listeners.d.group: cannot be the name of a group",
        "supervisor.userGroup: is set without user",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
    assert!(!text.contains("listeners.b"), "{text}");
    let text = "[groups.a]\naddress = '0.0.0.0:1'\n[listeners.a]\nhandler='print'\ngroup='a'\n";
    let told = parse(text).unwrap_err();
    assert!(told.contains("groups.a.address: can be reached from outside"), "{told}");
}

#[test]
fn a_call_goes_to_the_group_that_is_named_or_to_that_of_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("l.toml");
    // What is wrong elsewhere does not matter.
    let text = format!("{GROUPS}workers = 0\n[groups.gone]\naddress = 'x'\n");
    std::fs::write(&file, text).unwrap();
    let called = |groups: &[&str], listener: Option<&str>| {
        let groups = GroupChoice::new(groups.iter().map(|name| (*name).to_owned()));
        let config = Config::open_to_call(&file, &groups, listener);
        config.map(|config| config.listen.address.to_string()).map_err(|error| error.to_string())
    };
    for (groups, listener, port) in [
        (&[][..], None, 12359),
        (&["search"], None, 2),
        (&["default"], None, 12359),
        (&[], Some("b"), 2),
        (&[], Some("c"), 12359),
        (&["cache"], Some("b"), 12359),
        (&[], Some("unknown"), 12359),
    ] {
        let expected = Ok(format!("127.0.0.1:{port}"));
        assert_eq!(called(groups, listener), expected, "{groups:?} {listener:?}");
    }
    assert!(called(&["serach"], None).unwrap_err().contains("the groups are: cache"));
    let text = GROUPS.replace("127.0.0.1:2", "x");
    std::fs::write(&file, text).unwrap();
    assert!(called(&["search"], None).unwrap_err().contains("groups.search.address"));
    assert!(called(&[], None).is_ok());
}

#[test]
fn two_configs_differ_by_a_secret_or_by_the_bus() {
    let with = |secret: &str, port: u16| {
        let handler = format!("{{ http = 'http://x', hmacSecret = '{secret}' }}");
        parse(&format!(
            "[bus]\naddress = 'h:{port}'\ntoken='x'\n[listeners.a]\nhandler = {handler}\n"
        ))
        .unwrap()
    };
    let (one, same, secret, bus) = (with("s", 1), with("s", 1), with("t", 1), with("s", 2));
    assert!(one.listeners == same.listeners && one.has_same_bus(&same));
    assert!(one.listeners != secret.listeners && !one.has_same_bus(&bus));
}

#[test]
fn the_old_ip_and_port_work_and_are_told_with_what_to_write_instead() {
    for (old, instead) in [
        (
            "port = 1",
            "listen.port is an old name that still works; write address = \"127.0.0.1:1\"",
        ),
        (
            "ip = '::1'",
            "listen.ip is an old name that still works; write address = \"[::1]:12359\"",
        ),
        (
            "ip = '127.0.0.2'\nport = 2",
            "and port are old names that still work; write address = \"127.0.0.2:2\"",
        ),
    ] {
        let config =
            parse(&format!("[listen]\n{old}\n[listeners.a]\nhandler = 'print'\n")).unwrap();
        let told = &config.old_names[0].to_string();
        assert!(config.old_names.len() == 1 && told.contains(instead), "{old}: {told}");
        assert!(told.contains(&config.listen.address.to_string()), "{told}");
    }
    let text = parse("[listen]\nport = 1\naddress = 'localhost:2'\nip = '0.0.0.0'\n").unwrap_err();
    for expected in [
        "listen.ip: and port are old names of address, which is there too; keep address",
        "listen.token: is missing",
        "l.toml: 3 mistakes",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

const SHIPPED: &str = include_str!("../../../config/db_event_listener.toml");

/// What a text means, whether it has listeners or not.
fn meaning(text: &str) -> Result<String, String> {
    let file = File::parse(Path::new("l.toml"), text).map_err(|mistakes| mistakes.to_string())?;
    let config = Config::take(&file);
    let config = Config { secret_variables: BTreeSet::new(), bus_as_written: None, ..config };
    let meaning = format!("{config:?}");
    file.finish(meaning).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn the_config_that_we_ship_is_all_comments_and_has_no_listener_that_holds_the_log() {
    assert_eq!(plain_keys(SHIPPED), Vec::<String>::new());
    assert_eq!(meaning(SHIPPED), meaning(""));
    let mistakes = parse(SHIPPED).unwrap_err();
    assert!(mistakes.contains("1 mistake\n") && mistakes.contains("listeners: is missing"));
}

#[test]
fn every_key_of_the_config_that_we_ship_is_known_and_shows_its_default() {
    let keys = commented_keys(SHIPPED);
    assert_eq!(wrong_keys(&keys, meaning), Vec::<String>::new());
    let defaults = keys.iter().filter(|key| key.shows_default).count();
    assert!((17..keys.len()).contains(&defaults), "{defaults} of {}", keys.len());
}

#[test]
fn the_listener_that_we_ship_works_when_its_lines_are_taken_in() {
    for (handler, is_it) in [
        ("exec = ", (|it| matches!(it, HandlerConfig::Exec(_))) as fn(&HandlerConfig) -> bool),
        ("http = ", |it| matches!(it, HandlerConfig::Http(_))),
        ("elasticsearch = ", |it| matches!(it, HandlerConfig::Sink(_))),
        ("\"print\"", |it| *it == HandlerConfig::Print),
        ("\"program\"", |it| *it == HandlerConfig::Program),
    ] {
        let config = parse(&with_table(SHIPPED, "listeners.my-first", handler)).unwrap();
        let listener = &config.listeners["my-first"];
        assert!(is_it(&listener.handler), "{handler}: {:?}", listener.handler);
        assert!(listener.life_time.is_some() && listener.subscribe.len() == 3);
    }
}

#[test]
fn the_configs_of_the_containers_and_of_the_docs_have_every_key_right() {
    for text in [
        include_str!("../../../config/compose/db_event_listener.toml"),
        include_str!("../../../examples/container/db_event_listener.toml"),
    ] {
        assert_eq!(parse(&without_environment(text)).unwrap().old_names, []);
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let blocks = blocks_of_docs(repository).unwrap().into_iter();
    let ours = |block: &String| block.contains("[listeners.") || block.starts_with("[bus]");
    let ours: Vec<String> = blocks.filter(ours).collect();
    assert!(ours.len() >= 6, "{ours:?}");
    for block in ours {
        let said = meaning(&block).err().unwrap_or_default();
        assert!(!is_wrong(&said), "{block}: {said}");
    }
}

#[test]
fn a_listener_does_not_write_to_a_topic_that_it_reads() {
    let config = |topic: &str, bus: &str| {
        parse(&format!(
            "[bus]\n{bus}\n[listeners.a]\nsubscribe = {{ shop = ['i*'] }}\n\
             handler = {{ kafka = {{ brokers = 'localhost:9092', topic = '{topic}' }} }}\n"
        ))
    };
    let kafka = "kind = 'kafka'\naddress = '127.0.0.1:9092'";
    let mistakes = config("dbevents.{schema}.{table}", kafka).unwrap_err();
    let said = "listeners.a.handler.kafka.topic: is dbevents.shop.ix, which the listener itself";
    assert!(mistakes.contains(said), "{mistakes}");
    assert!(config("copy.{schema}.{table}", kafka).is_ok());
    assert!(config("dbevents.{schema}.{table}", "kind = 'log'").is_ok());
}

#[test]
fn two_listeners_have_no_common_name_at_the_same_brokers() {
    let config = |brokers: &str, name: &str, delivery: &str| {
        parse(&format!(
            "[listeners.a]\nhandler = {{ kafka = {{ brokers = 'localhost:9092' }} }}\n\
             [listeners.b]\nhandler = {{ kafka = {{ brokers = '{brokers}', name = '{name}', \
             delivery = '{delivery}' }} }}\n"
        ))
    };
    let once = "exactly-once";
    let mistakes = config("127.0.0.1:9092,other:9092", "a", once).unwrap_err();
    let said = "listeners.b.handler.kafka.name: is \"a\", as that of the listener a";
    assert!(mistakes.contains(said), "{mistakes}");
    assert!(config("127.0.0.1:9093", "a", once).is_ok());
    assert!(config("127.0.0.1:9092", "b", once).is_ok());
    assert!(config("127.0.0.1:9092", "a", "at-least-once").is_ok());
}
