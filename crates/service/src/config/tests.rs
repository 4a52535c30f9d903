//! What is read from a config file, and what its mistakes say.

use std::time::Duration;

use bytesize::ByteSize;

use super::*;

fn parse(text: &str) -> File {
    File::parse(Path::new("dts.toml"), text).unwrap()
}

#[test]
fn every_mistake_is_told_at_once_with_file_key_and_remedy() {
    let file = parse(
        "nmae = 'shop'\n[source]\nport = 'x'\ntimeout = '5 parsecs'\ntls = 'maybe'\nextra = 1\n",
    );
    let root = file.root();
    let source = root.section("source");
    root.required("name", String::new());
    source.or("port", 3306_u16);
    source.or("timeout", Duration::from_secs(5));
    source.choice("tls", ["off", "require", "verify"]);
    source.required("user", String::new());
    let text = file.finish(()).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "dts.toml: 7 mistakes",
            "  name: is missing; set it, for example name = \"text\"",
            "  source.port: \"x\" does not fit; write a whole number from 0 to 65535, for example 3",
            "  source.timeout: \"5 parsecs\" does not fit; write a time with its unit (ms, s, m, h, d), for example \"5s\"",
            "  source.tls: \"maybe\" is not known; write one of off, require, verify",
            "  source.user: is missing; set it, for example user = \"text\"",
            "  nmae: is not a known key; did you mean name?",
            "  source.extra: is not a known key; remove it (known here: port, timeout, tls, user)",
        ]
    );
}

#[test]
fn values_of_every_kind_are_read() {
    let file =
        parse("a = true\nb = 7\nc = '1h'\nd = '16MiB'\ne = ['x', 'y']\nf = 1.5\n[log]\nk = 'v'\n");
    let root = file.root();
    assert!(root.or("a", false));
    assert_eq!(root.or("b", 0_u32), 7);
    assert_eq!(root.or("c", Duration::ZERO), Duration::from_hours(1));
    assert_eq!(root.or("d", ByteSize(0)), ByteSize::mib(16));
    assert_eq!(root.or("e", Vec::<String>::new()), ["x", "y"]);
    assert!((root.or("f", 0.0) - 1.5).abs() < f64::EPSILON);
    assert_eq!(root.section("log").entries()["k"], "v");
    file.finish(()).unwrap();
}

#[test]
fn keys_with_dots_and_capitals_keep_their_form_in_a_table() {
    let file = parse("[capture]\nkeyColumns = { \"Shop.Log\" = ['a'] }\n");
    let capture = file.root().section("capture");
    let columns = capture.section("keyColumns");
    assert_eq!(columns.optional::<Vec<String>>("Shop.Log").unwrap(), ["a"]);
    file.finish(()).unwrap();
}

#[test]
fn a_broken_file_and_a_missing_file_are_named() {
    let broken = File::parse(Path::new("dts.toml"), "name = \n").unwrap_err().to_string();
    assert!(broken.starts_with("dts.toml: 1 mistake"), "{broken}");
    let missing = File::open(Path::new("/no/such/dts.toml")).unwrap_err().to_string();
    assert!(missing.contains("/no/such/dts.toml") && missing.contains("cannot read"), "{missing}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place_and_without_what_stands_there() {
    for text in [
        "a = 1\ntoken = \"hunter2\"secret\"\n",
        "a = 1\ntoken = hunter2\n",
        "a = 1\ntoken = \"hunter2\n",
        "a = 1\ntoken = { env = hunter2 }\n",
        "a = 1\ntoken = '''hunter2\n\n",
        "a = 1\ntoken == \"hunter2\"\n",
        "a = 1\n[token\nb = \"hunter2\"\n",
        "a = 1\ntoken = \"\\hunter2\"\n",
        "a = 1\ntoken = 'x'\ntoken = 'hunter2'\n",
    ] {
        let error = File::parse(Path::new("dts.toml"), text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{text} gives {error}");
        assert!(error.contains("is not TOML at line ") && error.contains("column"), "{error}");
    }
}

#[test]
fn who_calls_a_program_needs_no_secrets_but_those_of_the_call() {
    let text =
        "[listen]\na = { env = 'DBEVENT_NOT_SET' }\n[bus]\nb = { env = 'DBEVENT_NOT_SET' }\n";
    let file = parse(text).with_secrets_of(&["listen"]);
    assert!(file.root().section("listen").secret("a").is_none());
    assert!(file.root().section("bus").secret("b").is_some());
    let mistakes = file.finish(()).unwrap_err().to_string();
    assert!(mistakes.contains("listen.a") && !mistakes.contains("bus.b"), "{mistakes}");
}

#[test]
fn secrets_that_may_be_missing_are_listed_and_are_no_mistake() {
    let text = "[a.b]\nx = { env = 'DBEVENT_NOT_SET' }\ny = 'plain'\n\
                [ab]\nz = { file = '/no/such' }\n";
    let file = parse(text).with_missing_secrets_except_of(&["a"]);
    let (inner, other) = (file.root().section("a").section("b"), file.root().section("ab"));
    assert!(inner.secret("x").is_none() && inner.secret("y").is_some());
    assert!(other.secret("z").is_none());
    let missing = file.missing_secrets();
    assert!(missing.len() == 1 && missing[0].key == "ab.z", "{missing:?}");
    let mistakes = file.finish(()).unwrap_err();
    assert!(mistakes.list().len() == 1 && mistakes.list()[0].key == "a.b.x", "{mistakes}");
}

#[test]
fn a_secret_comes_from_each_of_its_places_and_its_absence_is_noted() {
    let file = parse("a = 'plain'\nb = { env = 'DBEVENT_NOT_SET' }\nc = { sql = 'x' }\n");
    assert_eq!(file.root().secret("a").unwrap().expose(), "plain");
    assert!(file.root().secret("b").is_none());
    assert!(file.root().secret("c").is_none());
    assert!(file.root().secret("d").is_none());
    assert!(file.secret_variables().contains("DBEVENT_NOT_SET"));
    assert_eq!(file.finish(()).unwrap_err().list().len(), 2);
}

#[test]
fn a_file_that_is_not_text_is_named_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    std::fs::write(&path, b"name = 'a'\nuser = '\xe9'\n").unwrap();
    let told = File::open(&path).unwrap_err().to_string();
    assert!(told.contains("line 2 has bytes that are not UTF-8; save the file as UTF-8"), "{told}");
    let told = File::open(&directory.path().join("b.toml")).unwrap_err().to_string();
    assert!(told.contains("create it, or name another"), "{told}");
}

#[test]
fn a_name_of_before_works_and_is_told_with_what_to_write_instead() {
    let read = |text: &str| {
        let file = parse(&format!("[listen]\n{text}"));
        let section = file.root().section("listen");
        for key in ["ip", "port", "address"] {
            section.raw(key);
        }
        section.note_old(&["ip", "port"], "address", "address = \"a:1\"");
        let told: Vec<String> = file.old_names().iter().map(ToString::to_string).collect();
        (told, file.finish(()).map_err(|mistakes| mistakes.to_string()))
    };
    let (told, done) = read("port = 1\n");
    assert_eq!(
        told,
        ["listen.port is an old name that still works; write address = \"a:1\" instead"]
    );
    done.unwrap();
    let (told, done) = read("port = 1\nip = 'b'\n");
    let expected = "listen.ip and port are old names that still work; write";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    done.unwrap();
    assert_eq!(read("address = 'a:1'\n").0, Vec::<String>::new());
    let (told, done) = read("port = 1\naddress = 'a:1'\n");
    assert!(told.is_empty());
    assert!(done.unwrap_err().contains("listen.port: is an old name of address, which is there"));
}
