//! Of a target with several hosts each is told.

use std::net::TcpListener;

use crate::changes::sink;

/// What is said of the target, by whether it is only doubtful.
async fn told(kind: &str, toml: &str) -> (Vec<String>, Vec<String>) {
    let found = sink(kind, toml).check(&[]).await;
    let (doubtful, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| one.is_doubtful);
    assert!(others.iter().all(|one| !one.is_wrong), "{others:?}");
    let what = |all: Vec<sinks::TargetFinding>| all.into_iter().map(|one| one.what).collect();
    (what(doubtful), what(others))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_and_one_that_hangs_are_told_beside_the_one_that_works() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It takes connections, and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap().to_string();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (mysql, postgres) = ("127.0.0.1:23397", "127.0.0.1:23432");
    let sql = |good: &str, more: &str| {
        format!("hosts = ['{good}', '{down}', '{hangs}']\ntimeout = '2s'\n{more}")
    };
    let urls = |scheme: &str, good: &str| {
        format!("url = ['{scheme}://{good}', '{scheme}://{down}', '{scheme}://{hangs}']")
    };
    let (search, redis, kafka) = ("127.0.0.1:23420", "127.0.0.1:23437", "127.0.0.1:23392");
    for (kind, good, toml) in [
        ("mysql", mysql, sql(mysql, "user = 'root'")),
        ("postgres", postgres, sql(postgres, "user = 'postgres'\ndatabase = 'postgres'")),
        ("elasticsearch", search, urls("http", search)),
        ("redis", redis, format!("{}\ndelete = 'a:{{{{ PK.id }}}}'", urls("redis", redis))),
        ("kafka", kafka, format!("brokers = '{kafka},{down},{hangs}'\nname = 'hosts-test'")),
    ] {
        let (doubtful, good_ones) = told(kind, &toml).await;
        assert!(good_ones.iter().any(|what| what.contains(good)), "{kind}: {good_ones:?}");
        for bad in [&down, &hangs] {
            assert!(
                doubtful.iter().any(|what| what.contains(&**bad)),
                "{kind} {bad}: {doubtful:?}"
            );
        }
        assert_eq!(doubtful.len(), 2, "{kind}: {doubtful:?}");
    }
}
