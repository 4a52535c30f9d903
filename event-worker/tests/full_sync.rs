//! Full syncs by real HTTP, over a real log; the test itself plays the part of `dts`.

use std::{collections::BTreeMap, time::Duration};

use event_bus::{Batch, Control, ControlChange, Producer};
use full_sync::{
    ANSWER_PREFIX, Answer, Code, LISTENING_PREFIX, REQUEST_PREFIX, Refusal, Request, Task,
    TaskState, WISH_PREFIX, Wish, Wished,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    bus::PATIENCE,
    program::{Program, Site, eventually},
};

/// What `dts` does over the bus, step by step.
pub(crate) struct StandIn {
    pub(crate) producer: Box<dyn Producer>,
    control: Box<dyn Control>,
    table: BTreeMap<String, Vec<u8>>,
}

impl StandIn {
    pub(crate) async fn new(site: &mut Site) -> Self {
        let control = site.bus().control().await.unwrap();
        Self { producer: site.take_producer(), control, table: BTreeMap::new() }
    }

    /// Waits until the control table is as it is waited for.
    async fn until<T>(
        &mut self,
        mut find: impl FnMut(&BTreeMap<String, Vec<u8>>) -> Option<T>,
    ) -> T {
        let wait = async {
            loop {
                if let Some(found) = find(&self.table) {
                    return found;
                }
                for (key, value) in self.control.changes().await.unwrap() {
                    match value {
                        Some(value) => self.table.insert(key, value.to_vec()),
                        None => self.table.remove(&key),
                    };
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the control table changes in time")
    }

    /// What is wanted now of those that were not asked yet.
    async fn wants(&mut self) -> Vec<ControlChange> {
        let mut changes = self.control.changes().await.unwrap();
        changes.retain(|(key, _)| !key.starts_with(LISTENING_PREFIX) && !key.starts_with("node/"));
        changes
    }

    /// The one request that is wanted.
    pub(crate) async fn request(&mut self) -> Request {
        self.until(|table| {
            let value = table.iter().find(|(key, _)| key.starts_with(REQUEST_PREFIX));
            Some(Request::from_bytes(value?.1).unwrap())
        })
        .await
    }

    pub(crate) async fn until_gone(&mut self, request: &Request) {
        self.until(|table| (!table.contains_key(&request.key())).then_some(())).await;
    }

    async fn wish(&mut self, task: &str, wanted: Wished) -> Wish {
        let key = format!("{WISH_PREFIX}{task}");
        self.until(|table| {
            let wish: Wish = serde_json::from_slice(table.get(&key)?).unwrap();
            (wish.state == wanted).then_some(wish)
        })
        .await
    }

    async fn save(&mut self, key: String, value: Vec<u8>) {
        self.producer.append(&Batch::default(), &[(key, Some(value.into()))]).await.unwrap();
    }

    async fn accept(&mut self, request: &Request, tasks: &[Task]) {
        for task in tasks {
            self.keep(task).await;
        }
        let tasks = tasks.iter().map(|task| task.id.clone()).collect();
        let answer = Answer::Accepted { tasks, at_ms: 1, subscribe: None, captured: None };
        self.save(format!("{ANSWER_PREFIX}{}", request.id), answer.to_bytes()).await;
    }

    async fn refuse(&mut self, request: &Request, refusal: Refusal) {
        let answer = Answer::Refused { refusal, at_ms: 1 };
        self.save(format!("{ANSWER_PREFIX}{}", request.id), answer.to_bytes()).await;
    }

    async fn keep(&mut self, task: &Task) {
        self.save(task.key(), task.to_bytes()).await;
    }
}

fn task(id: &str, state: TaskState, rows: u64) -> Task {
    Task {
        id: id.to_owned(),
        request: "fs-1".to_owned(),
        listener: "a".to_owned(),
        group: "dbevents.listener.a".to_owned(),
        schema: "shop".to_owned(),
        table: "orders".to_owned(),
        state,
        rows,
        estimated_rows: 1000,
        cursor: Some(json!([7])),
        from: None,
        to: None,
        error: None,
        held: None,
        heard_ms: None,
        created_ms: 1,
        updated_ms: 2,
        active_ms: 2000,
        initial: false,
    }
}

const LISTENERS: &str = "[listeners.a]\nsubscribe = { shop = ['order*'], other = ['x'] }\n\
                         handler = { exec = ['sh', '-c', 'while read -r l; do echo true; done'] }\n\
                         [listeners.mine]\nhandler = 'program'\n\
                         [listeners.shut]\nhandler = 'program'\nfullSync = false\n";

async fn start() -> (Site, StandIn, Program) {
    let mut site = Site::new().await;
    site.configure(LISTENERS);
    let dts = StandIn::new(&mut site).await;
    let program = site.run();
    program.pid_of("a").await;
    (site, dts, program)
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test]
async fn a_call_is_answered_with_the_tasks_that_dts_has_made() {
    let (_site, mut dts, program) = start().await;
    for (method, path) in [("GET", "/?table=shop.orders&listenerid=a"), ("POST", "/?listenerid=a")]
    {
        let dts = async {
            let request = dts.request().await;
            dts.accept(
                &request,
                &[task(&format!("{}-shop.orders", request.id), TaskState::Waiting, 0)],
            )
            .await;
            dts.until_gone(&request).await;
            request
        };
        let call = format!("{method} {path}");
        let ((status, answer), request) = tokio::join!(program.call(&call), dts);
        assert_eq!(status, 202, "{answer}");
        let expected = json!({ "request": request.id, "tasks": [{
            "id": format!("{}-shop.orders", request.id), "state": "waiting", "listener": "a",
            "schema": "shop", "table": "orders", "estimatedRows": 1000,
        }]});
        assert_eq!(answer, expected);
        assert!(request.id.starts_with("fs-") && !request.initial, "{request:?}");
        assert_eq!((request.listener.as_str(), request.dts.as_deref()), ("a", Some("test")));
        assert_eq!(request.group, "dbevents.listener.a");
        let globs = [("other", "x"), ("shop", "order*")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(request.subscribe, globs);
        let table = (method == "GET").then(|| "shop.orders".to_owned());
        assert_eq!((request.tables, request.key_column, request.from), (table, None, None));
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn every_parameter_reaches_dts_as_it_was_written() {
    let (_site, mut dts, program) = start().await;
    let strange = r#"`; DROP TABLE x; -- ' OR 1=1 # " \ é 😀 %00"#;
    let encoded: String = strange.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let query = format!(
        "GET /?table={encoded}&listenerid=mine&pk={encoded}&offset={encoded}&maxOffset={encoded}"
    )
    .replace("table=", "table=shop.");
    let body = json!({ "table": format!("shop.{strange}"), "listenerId": "mine", "pk": strange,
        "offset": strange, "maxOffset": strange });
    for with_body in [false, true] {
        let refused = async {
            let request = dts.request().await;
            let refusal = Refusal {
                code: Code::InvalidParameter,
                message: "no such column".to_owned(),
                remedy: "name one".to_owned(),
                task: None,
            };
            dts.refuse(&request, refusal).await;
            dts.until_gone(&request).await;
            request
        };
        let call = async {
            match with_body {
                false => program.call(&query).await,
                true => {
                    let change = |request: reqwest::RequestBuilder| request.body(body.to_string());
                    program.call_with("POST /api/v1/full-syncs", change).await
                }
            }
        };
        let ((status, answer), request) = tokio::join!(call, refused);
        assert_eq!((status, code(&answer)), (400, "invalid_parameter"), "{answer}");
        assert_eq!(answer["error"]["message"], "no such column");
        assert_eq!((request.listener.as_str(), request.subscribe), ("mine", vec![]));
        assert_eq!(request.tables, Some(format!("shop.{strange}")));
        for value in [request.key_column, request.from, request.to] {
            assert_eq!(value.as_deref(), Some(strange));
        }
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn a_listener_that_takes_no_full_syncs_refuses_them_with_the_reason() {
    let (_site, mut dts, program) = start().await;
    for path in ["/?table=shop.orders&listenerid=shut", "/?listenerid=shut"] {
        let (status, answer) = program.call(&format!("GET {path}")).await;
        assert_eq!((status, code(&answer)), (409, "full_sync_refused"));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("fullSync = false"), "{message}");
    }
    assert!(dts.wants().await.is_empty(), "dts is not asked");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn what_dts_refuses_is_told_with_a_status_a_code_and_the_task_in_the_way() {
    let (_site, mut dts, program) = start().await;
    for (reason, status, word) in [
        (Code::InvalidParameter, 400, "invalid_parameter"),
        (Code::NoSuchTable, 404, "no_such_table"),
        (Code::AmbiguousTable, 409, "ambiguous_table"),
        (Code::AlreadyRunning, 409, "already_running"),
        (Code::NotPossible, 422, "not_possible"),
        (Code::SourceAway, 503, "source_away"),
    ] {
        let refused = async {
            let request = dts.request().await;
            let task = (reason == Code::AlreadyRunning).then(|| "fs-0-shop.orders".to_owned());
            let (message, remedy) = ("why".to_owned(), "what to do".to_owned());
            dts.refuse(&request, Refusal { code: reason, message, remedy, task }).await;
            dts.until_gone(&request).await;
        };
        let call = program.call("POST /?table=orders&listenerid=a");
        let ((found, answer), ()) = tokio::join!(call, refused);
        assert_eq!((found, code(&answer)), (status, word), "{answer}");
        assert_eq!(
            (&answer["error"]["message"], &answer["error"]["remedy"]),
            (&"why".into(), &"what to do".into())
        );
        let task = &answer["error"]["task"];
        assert_eq!(task.as_str(), (word == "already_running").then_some("fs-0-shop.orders"));
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_at_once_and_never_reaches_dts() {
    let (_site, mut dts, program) = start().await;
    for (request, status, words) in [
        ("GET /", 400, &["nothing here without parameters"][..]),
        ("GET /?table=orders", 400, &["listenerid is missing"]),
        ("GET /?table=&listenerid=", 400, &["table is blank", "listenerid is blank"]),
        ("GET /?table=orders&listenerid=a&listenerid=a", 400, &["listenerid is given more than"]),
        ("GET /?tabel=orders&listenerID=a", 400, &["\"tabel\" is not", "\"listenerID\" is not"]),
        ("GET /?listenerid=a&offset=1", 400, &["offset and maxOffset are for a single table"]),
        ("POST /?table=order*&listenerid=a&pk=id", 400, &["are for a single table"]),
        ("GET /?table=orders&listenerid=b", 404, &["there is no listener \"b\""]),
        ("GET /?table=items&listenerid=a", 404, &["does not subscribe to a table \"items\""]),
        ("GET /?table=shop.items&listenerid=a", 404, &["does not subscribe"]),
        ("DELETE /?table=orders&listenerid=a", 405, &["does not take DELETE"]),
        ("GET /api/v1/full-syncs?status=done", 400, &["\"status\" is not known"]),
        ("GET /api/v1/full-syncs?state=ready", 400, &["\"ready\" is no state"]),
        ("GET /api/v1/full-syncs/none", 404, &["no full sync \"none\""]),
        ("POST /api/v1/full-syncs/none/pause", 404, &["no full sync \"none\""]),
        ("POST /api/v1/full-syncs/none/resume", 404, &["no full sync \"none\""]),
        ("POST /api/v1/full-syncs/none/cancel", 404, &["no full sync \"none\""]),
        ("GET /api/v1/full-syncs/none/cancel", 405, &["does not take GET"]),
        ("POST /api/v1/full-syncs/none/stop", 404, &["there is nothing at"]),
        ("POST /api/v1/full-syncs", 400, &["EOF"]),
    ] {
        let (found, answer) = program.call(request).await;
        assert_eq!(found, status, "{request}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(answer["error"]["remedy"].is_string(), "{answer}");
        for word in words {
            assert!(message.contains(word), "{request}: {message}");
        }
    }
    for (body, words) in [
        (json!([]), "invalid type"),
        (json!({ "listenerId": "a", "tables": "x" }), "\"tables\" is not known"),
        (json!({ "listenerId": "a", "table": ["x"] }), "table is neither a text nor a number"),
        (json!({ "listenerID": "a" }), "listener is missing"),
        (json!({ "listenerId": "a", "table": " " }), "table is blank"),
    ] {
        let change = |request: reqwest::RequestBuilder| request.body(body.to_string());
        let (status, answer) = program.call_with("POST /api/v1/full-syncs", change).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(words), "{body}: {message}");
    }
    for request in ["GET /?table=orders&listenerid=a", "POST /api/v1/full-syncs"] {
        for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
            let change = |request: reqwest::RequestBuilder| request.header(name, value);
            let (status, answer) = program.call_with(request, change).await;
            assert_eq!((status, code(&answer)), (403, "forbidden"), "{answer}");
        }
    }
    let (status, _) = program.call("HEAD /?table=orders&listenerid=a").await;
    assert_eq!(status, 405);
    assert_eq!(dts.wants().await, [], "nobody was asked for anything");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn without_an_answer_within_five_seconds_nothing_is_wanted_any_more() {
    let (mut site, mut dts, program) = start().await;
    let began = std::time::Instant::now();
    let (status, answer) = program.call("GET /?table=orders&listenerid=a").await;
    assert_eq!((status, code(&answer)), (503, "no_answer"), "{answer}");
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("dts test has not answered within 5 s"), "{message}");
    let asked = dts.wants().await;
    assert!(asked.iter().all(|(_, value)| value.is_none()), "{asked:?}");

    // Somebody who does not wait leaves nothing behind either.
    let url = "GET /?table=orders&listenerid=a";
    let hasty = program.call(url);
    assert!(timeout(Duration::from_millis(500), hasty).await.is_err());
    let request = dts.request().await;
    dts.until_gone(&request).await;

    drop(dts);
    site.stop_log().await;
    let (status, answer) = program.call("GET /?table=orders&listenerid=a").await;
    assert_eq!((status, code(&answer)), (503, "service_unavailable"), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("is not available"), "{answer}");
    assert_eq!(program.call("GET /api/v1/full-syncs").await.0, 503);
    assert_eq!(program.call("POST /api/v1/full-syncs/x/pause").await.0, 503);
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn full_syncs_are_listed_shown_paused_resumed_and_cancelled() {
    let (_site, mut dts, program) = start().await;
    assert_eq!(program.call("GET /api/v1/full-syncs").await, (200, json!({ "fullSyncs": [] })));
    let id = "fs-2-shop.a/b c";
    let mut going =
        Task { listener: "b".into(), created_ms: 5, ..task(id, TaskState::Running, 250) };
    dts.keep(&going).await;
    let failed =
        Task { error: Some("the table was dropped".into()), ..task("fs-1", TaskState::Failed, 9) };
    dts.keep(&failed).await;
    let (_, list) = program.call("GET /api/v1/full-syncs").await;
    let ids: Vec<_> =
        list["fullSyncs"].as_array().unwrap().iter().map(|view| &view["id"]).collect();
    assert_eq!(ids, [id, "fs-1"], "the newest first");
    for (filter, count) in
        [("listener=a", 1), ("state=running", 1), ("listener=a&state=running", 0)]
    {
        let (_, list) = program.call(&format!("GET /api/v1/full-syncs?{filter}")).await;
        assert_eq!(list["fullSyncs"].as_array().unwrap().len(), count, "{filter}");
    }
    let path = "/api/v1/full-syncs/fs-2-shop.a%2Fb%20c";
    let (status, view) = program.call(&format!("GET {path}")).await;
    let expected = json!({ "id": id, "request": "fs-1", "listener": "b", "schema": "shop",
        "table": "orders", "state": "running", "initial": false, "rows": 250, "estimatedRows": 1000,
        "percent": 25.0, "rowsPerSecond": 125.0, "remainingSeconds": 6, "cursor": [7],
        "from": null, "to": null, "error": null, "waits": null, "createdMs": 5, "updatedMs": 2 });
    assert_eq!((status, view), (200, expected));
    for (verb, wished) in
        [("pause", Wished::Pause), ("resume", Wished::Run), ("cancel", Wished::Cancel)]
    {
        let (status, view) = program.call(&format!("POST {path}/{verb}")).await;
        assert_eq!((status, &view["id"]), (202, &id.into()), "{view}");
        assert!(dts.wish(id, wished).await.at_ms > 0);
    }
    going.state = TaskState::Cancelled;
    dts.keep(&going).await;
    let (status, answer) = program.call(&format!("POST {path}/resume")).await;
    assert_eq!((status, code(&answer)), (409, "already_ended"), "{answer}");
    assert_eq!(answer["error"]["task"], id);
    assert!(answer["error"]["message"].as_str().unwrap().contains("it is cancelled"), "{answer}");
    assert_eq!(program.stop().await, Some(0));
}

/// Runs a verb of `full-sync`; gives its exit code and what it printed.
async fn run(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["full-sync"], arguments].concat();
    let output = site.command(&arguments).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn the_command_starts_lists_and_changes_them_through_the_running_worker() {
    let (site, mut dts, program) = start().await;
    let id = "fs-1-shop.orders";
    let accepted = async {
        let request = dts.request().await;
        dts.accept(&request, &[task(id, TaskState::Running, 10)]).await;
        dts.until_gone(&request).await;
        request
    };
    let arguments = ["start", "-t", "a", "shop.orders", "--pk", "id", "--from", "-5", "--to", "9"];
    let ((status, text), request) = tokio::join!(run(&site, &arguments), accepted);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(id) && text.contains("shop.orders") && text.contains("1000"), "{text}");
    let text_of = |text: &str| Some(text.to_owned());
    assert_eq!((request.key_column, request.from), (text_of("id"), text_of("-5")));
    assert_eq!(request.to, text_of("9"));

    let (status, text) = run(&site, &["list"]).await;
    let row = text.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{text}"));
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(row, [id, "a", "shop.orders", "running", "10", "1000", "5", "198"]);
    let (_, text) = run(&site, &["list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list, program.call("GET /api/v1/full-syncs").await.1);
    for (verb, wished) in
        [("pause", Wished::Pause), ("resume", Wished::Run), ("cancel", Wished::Cancel)]
    {
        let (status, text) = run(&site, &[verb, id]).await;
        assert_eq!(status, Some(0), "{text}");
        dts.wish(id, wished).await;
    }
    for (arguments, code, words) in [
        (&["start", "-t", "b"][..], 69, "there is no listener \"b\""),
        (&["start", "--id", "a", "items"], 69, "does not subscribe"),
        (&["start", "-t", "a", "--from", "1"], 64, "TABLE"),
        (&["start", "-t", "a", "items", "more"], 64, "cannot be used with"),
        (&["start"], 64, "--id <ID>"),
        (&["start", "a", "items"], 69, "full-sync start -t a instead"),
        (&["start", "a", "items"], 69, "does not subscribe to a table \"items\""),
        (&["pause", "none"], 69, "no full sync \"none\""),
        (&["watch", "none"], 69, "no full sync \"none\""),
        (&["pause"], 64, "required"),
    ] {
        let (status, text) = run(&site, arguments).await;
        assert!(status == Some(code) && text.contains(words), "{arguments:?}: {status:?} {text}");
    }
    assert_eq!(program.stop().await, Some(0));
    let (status, text) = run(&site, &["list"]).await;
    assert!(status == Some(69) && text.contains("no event-worker answers at"), "{text}");
}

#[tokio::test]
async fn watch_prints_a_line_for_each_change_until_all_have_ended() {
    let (site, mut dts, program) = start().await;
    let (status, text) = run(&site, &["watch"]).await;
    assert!(status == Some(0) && text.contains("no full sync is under way"), "{status:?} {text}");
    dts.keep(&task("fs-0", TaskState::Done, 1000)).await;
    dts.keep(&task("fs-1", TaskState::Running, 100)).await;
    dts.keep(&task("fs-2", TaskState::Waiting, 0)).await;
    let child = |arguments: &[&str]| {
        let arguments = [&["full-sync", "watch"], arguments].concat();
        let mut command = site.command(&arguments);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (all, mut one) = (child(&[]), child(&["fs-1"]));
    let mut lines = {
        use tokio::io::AsyncBufReadExt as _;
        tokio::io::BufReader::new(one.stdout.take().unwrap()).lines()
    };
    let first = lines.next_line().await.unwrap().unwrap();
    assert_eq!(first, "fs-1 shop.orders to a: 10.0% 100/1000 50 rows/s, 18s left");
    dts.keep(&task("fs-1", TaskState::Done, 1010)).await;
    let last = lines.next_line().await.unwrap().unwrap();
    assert_eq!(last, "fs-1 shop.orders to a: 100.0% 1010/1000 done");
    assert_eq!(one.wait().await.unwrap().code(), Some(0));
    let failed =
        Task { error: Some("it was dropped".into()), ..task("fs-2", TaskState::Failed, 0) };
    dts.keep(&failed).await;
    let output = timeout(PATIENCE, all.wait_with_output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("fs-2 shop.orders to a: 0.0% 0/1000 failed: it was dropped"), "{text}");
    assert!(!text.contains("fs-0"), "{text}");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn watch_draws_a_bar_on_a_terminal() {
    let (site, mut dts, program) = start().await;
    dts.keep(&task("fs-1", TaskState::Running, 100)).await;
    // Gives the command a terminal, and writes down what it shows there.
    let command = format!(
        "{} full-sync watch --config {}",
        env!("CARGO_BIN_EXE_event-worker"),
        site.config_file().display()
    );
    let shown = site.path("shown");
    let mut script = tokio::process::Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &command]).arg(&shown);
    let mut child = script.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let shows = |words: &str| {
        let text = std::fs::read(&shown).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(words)
    };
    eventually("a bar is drawn", async || shows("shop.orders to a [===>")).await;
    eventually("with numbers", async || shows(" 10% 100/1000 50 rows/s, 18s left")).await;
    dts.keep(&task("fs-1", TaskState::Done, 1010)).await;
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert!(shows("100% 1010/1010 done"), "{}", std::fs::read_to_string(&shown).unwrap());
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn what_a_killed_worker_left_behind_is_swept_away_by_the_next() {
    let mut site = Site::new().await;
    site.configure(LISTENERS);
    let mut dts = StandIn::new(&mut site).await;
    let mut program = site.run();
    program.pid_of("a").await;
    let hasty = program.call("GET /?table=orders&listenerid=a");
    assert!(timeout(Duration::from_millis(1000), hasty).await.is_err());
    let request = dts.request().await;
    program.kill();
    program.ended().await;
    // As if it had been a while ago.
    let old = Request { at_ms: 1, ..request.clone() };
    site.bus().put_control(&[(old.key(), Some(old.to_bytes().into()))]).await.unwrap();
    let program = site.run();
    dts.until_gone(&request).await;
    eventually("it runs", async || program.call("GET /readyz").await.0 == 200).await;
    assert_eq!(program.stop().await, Some(0));
}
