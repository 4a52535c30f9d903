//! What is refused, in which parts a batch is handled, and a source that is away.

use std::path::Path;

use service::config::File;

use super::*;
use crate::change::tests::event;

fn config(toml: &str) -> Result<Option<FetchConfig>, String> {
    let file = File::parse(Path::new("test"), toml).unwrap();
    let config = FetchConfig::read(file.root());
    file.finish(config).map_err(|error| error.to_string())
}

/// A listener that fetches from a port at which nobody listens.
fn fetch(more: &str) -> Fetch {
    let toml = format!("oversized.fetch = {{ hosts = ['127.0.0.1:1'], user = 'u'{more} }}");
    Fetch::new(config(&toml).unwrap().unwrap(), Arc::default())
}

/// An event that has only its row's key.
fn short(action: &str, key: &str, bytes: u64) -> Event {
    let whole = event(action, key, None);
    let mark = format!(r#""Oversized":{bytes},"Seq""#);
    let json = whole.json.replace(r#""Seq""#, &mark).replace(r#"{"id":7}"#, key);
    Event { json, ..whole }
}

#[test]
fn the_default_is_to_refuse_and_mistakes_are_found() {
    assert_eq!(config(""), Ok(None));
    let found = config("oversized.fetch = { user = 'u', maxBytes = '1MiB' }").unwrap().unwrap();
    assert_eq!((found.max_bytes, &*found.hosts[0].to_string()), (1 << 20, "127.0.0.1:3306"));
    for (wrong, said) in [
        ("oversized = {}", "oversized.fetch: is missing"),
        ("oversized = 'fetch'", "write a table"),
        ("oversized.fetch = {}", "oversized.fetch.user: is missing"),
        ("oversized.fetch = { user = 'u', host = 'a' }", "did you mean hosts?"),
    ] {
        let message = config(wrong).unwrap_err();
        assert!(message.contains(said), "{wrong}: {message}");
    }
}

#[test]
fn large_rows_are_not_in_memory_all_together() {
    let fetch = fetch(", maxBytes = '100B'");
    let (whole, large) = (event("insert", r#"{"id":7}"#, None), short("insert", r#"{"id":7}"#, 60));
    let huge = short("insert", r#"{"id":7}"#, 900);
    let lengths = |events: &[&Event]| -> Vec<usize> {
        fetch.parts(events).into_iter().map(<[_]>::len).collect()
    };
    assert_eq!(lengths(&[&whole, &whole, &whole]), [3]);
    assert_eq!(lengths(&[&whole, &large, &whole, &large, &whole]), [3, 2]);
    assert_eq!(lengths(&[&huge, &large, &huge]), [1, 1, 1]);
}

#[tokio::test]
async fn a_delete_needs_no_row_and_what_no_row_can_be_had_of_is_refused() {
    let whole = event("update", r#"{"id":7,"d":{"Oversized":5}}"#, None);
    let delete = short("delete", r#"{"id":7}"#, 60);
    let (keyless, huge) = (short("insert", "{}", 60), short("update", r#"{"id":7}"#, 900));
    let given = [&whole, &delete, &keyless, &huge];
    let Completed { events, unusable } =
        fetch(", maxBytes = '100B'").complete(&given).await.unwrap();
    let texts: Vec<&str> = events.iter().map(|event| event.json()).collect();
    let left = delete.json.replace(r#""Oversized":60,"#, "");
    assert_eq!(texts, [&*whole.json, &*left]);
    assert!(!events.iter().any(|event| event.is_fetched));
    let why: Vec<&str> = unusable.iter().map(|one| &*one.why).collect();
    assert!(why[0].contains("maxRowBytes of dts"), "{why:?}");
    assert!(why[1].contains("oversized.fetch.maxBytes (100 B)"), "{why:?}");
}

#[tokio::test]
async fn a_source_that_is_away_is_waited_for() {
    let lacking = short("update", r#"{"id":7}"#, 60);
    let failure = fetch("").complete(&[&lacking]).await.unwrap_err();
    assert!(
        failure.is_away && failure.reason.starts_with("the source: 127.0.0.1:1: "),
        "{failure:?}"
    );
    assert!(failure.remedy.unwrap().contains("event-worker check"));
}
