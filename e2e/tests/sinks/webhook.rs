//! A service of somebody else, which is filled by requests that templates make: of all rows, and of
//! those that a condition chooses. It fails at random, and the programs are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    programs::{seed, size},
    rebuilt::texts_of,
    running::{Running, Victim},
    workload::{TABLES, Workload, shuffled},
};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Copied, SCHEMA, begin, filled, shown};

/// What the service keeps: rows by their paths. A deleted row has a version, but no columns.
#[derive(Debug, Default)]
struct Shelf {
    rows: BTreeMap<String, (u64, Option<String>)>,
    /// Requests that brought an older version than the one that is there.
    backwards: u64,
    failed: u64,
}

/// The service.
#[derive(Debug)]
struct Service {
    shelf: Arc<Mutex<Shelf>>,
    port: u16,
    serving: JoinHandle<()>,
}

struct Request {
    method: String,
    path: String,
    version: u64,
    body: Vec<u8>,
}

impl Service {
    async fn start(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (shelf, port) = (Arc::<Mutex<Shelf>>::default(), listener.local_addr()?.port());
        let shared = Arc::clone(&shelf);
        let serving = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let random = SmallRng::seed_from_u64(seed ^ number);
                tokio::spawn(serve(stream, Arc::clone(&shared), random));
            }
        });
        Ok(Self { shelf, port, serving })
    }

    fn look<T>(&self, at: impl FnOnce(&mut Shelf) -> T) -> T {
        at(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The rows of a table that a listener brought.
    fn rows(&self, listener: &str, table: &str) -> Result<BTreeSet<Vec<String>>> {
        let begin = format!("/{listener}/{table}:");
        self.look(|shelf| {
            let rows = shelf.rows.iter().filter(|(path, _)| path.starts_with(&begin));
            rows.filter_map(|(_, (_, row))| row.as_deref()).map(texts_of).collect()
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers requests of a connection until it ends.
async fn serve(
    mut stream: TcpStream,
    shelf: Arc<Mutex<Shelf>>,
    mut random: SmallRng,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let request = read(&mut stream, &mut bytes).await?;
        let answer = {
            let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = match random.random_range(0..60) {
                0 => Some("500 Internal Server Error\r\n"),
                1 => Some("429 Too Many Requests\r\nretry-after: 1\r\n"),
                // It breaks off, and nobody knows whether the work is done.
                2 => Some(""),
                3 => Some("422 Unprocessable Content\r\n"),
                _ => None,
            };
            shelf.failed += u64::from(refused.is_some());
            match refused {
                Some("") => {
                    shelf.put(&request);
                    return None;
                }
                Some(refused) => refused,
                None => shelf.put(&request),
            }
        };
        let answer = format!("HTTP/1.1 {answer}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes.get(..end)?.to_vec()).ok()?;
            let header = |name: &str| {
                let mut headers = head.lines().filter_map(|line| line.split_once(": "));
                headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            };
            let length: usize = header("content-length").map_or(Some(0), |it| it.parse().ok())?;
            if bytes.len() >= end + 4 + length {
                let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
                bytes.drain(..end + 4 + length);
                let mut words = head.split(' ');
                let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
                let version = header("row-version")?.parse().ok()?;
                return Some(Request { method, path, version, body });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

impl Shelf {
    /// Keeps what a request brings; gives the answer.
    fn put(&mut self, request: &Request) -> &'static str {
        let row = match request.method.as_str() {
            "DELETE" => None,
            "PUT" => match serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&request.body)
            {
                Ok(mut body) => body.remove("row").map(|row| row.get().to_owned()),
                Err(_) => return "400 Bad Request\r\n",
            },
            _ => return "405 Method Not Allowed\r\n",
        };
        let known = self.rows.get(&request.path);
        let is_there = known.is_some_and(|(_, row)| row.is_some());
        self.backwards += u64::from(known.is_some_and(|(version, _)| request.version < *version));
        let is_gone = row.is_none() && !is_there;
        self.rows.insert(request.path.clone(), (request.version, row));
        if is_gone { "404 Not Found\r\n" } else { "200 OK\r\n" }
    }
}

fn listener(name: &str, more: &str, port: u16) -> String {
    let key = "{table}{% for column, value in PK|items %}:{{ value }}{% endfor %}";
    format!(
        "[listeners.{name}]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"full-sync\"\nworkers = 3\n\
         retry = {{ min = \"10ms\", max = \"100ms\" }}\nbatchSize = 100\n\
         [listeners.{name}.handler.http]\nurl = \"http://127.0.0.1:{port}/{name}/{key}\"\n{more}\
         per = \"event\"\nmethod = {{ insert = \"PUT\", update = \"PUT\", delete = \"DELETE\" }}\n\
         headers = {{ Row-Version = \"{{{{ Seq }}}}\" }}\nbody = {{ row = \"{{{{ Data }}}}\" }}\n"
    )
}

async fn equal(running: &Running, service: &Service) -> Result<()> {
    for table in TABLES {
        let rows = async || service.rows("hook", table);
        let settled = Copied::whole(table).settles(&running.mysql, rows).await;
        settled.with_context(|| format!("{table}\n{}", running.worker.output()))?;
    }
    let some = Copied { table: "account", condition: "note IS NOT NULL AND amount > 0" };
    some.settles(&running.mysql, async || service.rows("some", "account")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_at_random_has_the_rows_of_the_tables_after_kills() -> Result<()> {
    let (seed, changes) = (seed(), size(1_500, 30_000));
    let mut random = SmallRng::seed_from_u64(seed);
    let source = filled("webhook", &[], (changes / 3, seed)).await?;
    let service = Service::start(seed).await?;
    let condition = "where = \"Data.note != null && double(Data.amount) > 0.0\"\n";
    let some = listener("some", condition, service.port)
        .replace(&format!("{{ {SCHEMA} = [] }}"), &format!("{{ {SCHEMA} = [\"account\"] }}"));
    let listeners = listener("hook", "", service.port) + &some;
    let mut running = begin(source, &listeners)?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, changes / 2, seed);
    load.finish().await?;
    equal(&running, &service).await?;
    let (backwards, failed) = service.look(|shelf| (shelf.backwards, shelf.failed));
    ensure!(backwards == 0 && failed > 0, "{backwards} went backwards, {failed} failed");
    let view = shown(&running.site, "hook").await;
    ensure!(view["failures"] != 0, "{view}");

    let load = Workload::start(&running.mysql.url(), SCHEMA, changes / 2, seed ^ 1);
    let victims = [Victim::Listener, Victim::Supervisor, Victim::Dts];
    let victims = shuffled(&victims, size(1, 5), &mut random);
    let killed = (&victims[..], Duration::from_millis(1500));
    load.finish_during_kills(killed, &mut random, async |victim| running.kill(victim).await)
        .await?;
    equal(&running, &service).await?;
    let (rows, failed) = service.look(|shelf| (shelf.rows.len(), shelf.failed));
    println!("{rows} rows, {failed} requests failed");
    drop(service);
    running.end().await
}
