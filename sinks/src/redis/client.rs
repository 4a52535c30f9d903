//! The connection to a server or a cluster, which all lanes of a listener share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use handler::Failure;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _,
    Pipeline, RedisError, RedisResult, TlsCertificates, Value, aio::MultiplexedConnection,
    cluster::ClusterClient, cluster_async::ClusterConnection,
};
use reqwest::Url;
use tokio::time::timeout;

use super::{
    RedisServer,
    commands::{Command, Work, rows},
    refusal::{Peer, Refusal, failure},
    scripts::{Given, ScriptName},
};
use crate::{
    change::Unusable,
    figures::{Answered, Counts, Written},
    host_look::{HostLook, look_at_each},
};

/// So many commands are sent at once to one server at the most.
const MAX_COMMANDS: usize = 1000;

/// So many rows are written by one call of a script: for so long the server does nothing else.
const MAX_ROWS: usize = 250;

/// In a cluster the commands of a key are a request; so many requests are on their way.
const MAX_CLUSTER_REQUESTS: usize = 256;

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A node that has not answered after this time hangs; the next one is asked.
const NODE_DEADLINE: Duration = Duration::from_secs(3);

pub(super) struct RedisClient {
    pub(super) server: RedisServer,
    counts: Arc<Counts>,
    connection: Mutex<Option<Connection>>,
    /// Which URL is used: the next one after a failure.
    at: AtomicUsize,
}

/// Its copies are the same connection.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What became of the commands of a request.
#[derive(Default)]
struct Replies {
    written: Written,
    refused: Vec<Unusable>,
}

impl RedisClient {
    pub(super) fn new(server: RedisServer, counts: Arc<Counts>) -> Self {
        Self { server, counts, connection: Mutex::new(None), at: AtomicUsize::new(0) }
    }

    /// Sends the commands; gives the events that the server refuses.
    ///
    /// # Errors
    ///
    /// Why some are not done, or nobody knows.
    pub(super) async fn send(
        &self,
        commands: &[Command<'_>],
        max_bytes: usize,
    ) -> Result<Vec<Unusable>, Failure> {
        let mut refused = Vec::new();
        if !self.server.is_cluster {
            for request in requests(commands.iter().collect(), max_bytes) {
                refused.extend(self.request(&request).await?);
            }
            return Ok(refused);
        }
        // Messages only after the rows: see `Plan::commands`.
        for turn in commands.chunk_by(|one, next| one.work.turn() == next.work.turn()) {
            let requests = by_key(turn).into_iter().flat_map(|of| requests(of, max_bytes));
            let calls = requests.map(async |request| self.request(&request).await);
            let calls = stream::iter(calls.collect::<Vec<_>>());
            let answers: Vec<_> =
                calls.buffer_unordered(MAX_CLUSTER_REQUESTS).try_collect().await?;
            refused.extend(answers.into_iter().flatten());
        }
        Ok(refused)
    }

    async fn request(&self, commands: &[&Command<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (mut given, mut pipeline) = (Given::default(), redis::pipe());
        pipeline.ignore_errors();
        let calls = calls(commands);
        for call in &calls {
            pipeline.add_command(match call[..] {
                [command] => command.cmd(&mut given),
                _ => rows(call, &mut given),
            });
        }
        let mut connection = self.connection().await?;
        let began = Instant::now();
        let answer = connection.run(&pipeline).await;
        let results = answer.map_err(|error| self.lost(failure(&self.peer(), &error)))?;
        let bytes = commands.iter().map(|command| command.bytes()).sum();
        self.counts.answered(Answered { bytes, took: began.elapsed() });
        if results.len() != calls.len() {
            let (sent, answered) = (calls.len(), results.len());
            let reason = format!("{answered} of {sent} commands are answered");
            return Err(self.lost(Failure::unclear(reason)));
        }
        let mut replies = Replies::default();
        let mut wait = None;
        for (call, result) in calls.iter().zip(results) {
            match result {
                Ok(value) => replies.written.add(call, &value),
                Err(error) => match Refusal::of(&self.peer(), &error) {
                    Refusal::OfRow(why) => {
                        let refused = call.iter().map(|one| one.change.unusable(why.clone()));
                        replies.refused.extend(refused);
                    }
                    Refusal::OfAll(failure) => wait = wait.or(Some(failure)),
                },
            }
        }
        self.counts.wrote(replies.written);
        match wait {
            // A server that is no primary any more: another connection may lead to the new one.
            Some(failure) => Err(self.lost(failure)),
            None => Ok(replies.refused),
        }
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let connected = self.connected().await;
        connected.map_err(|error| self.lost(failure(&self.peer(), &error)))
    }

    /// The connection; a new one where there is none.
    pub(super) async fn connected(&self) -> RedisResult<Connection> {
        if let Some(connection) = self.kept().clone() {
            return Ok(connection);
        }
        let connection = self.connect().await?;
        *self.kept() = Some(connection.clone());
        Ok(connection)
    }

    /// Gives the connection up: the next call makes a new one, to the next URL.
    fn lost(&self, failure: Failure) -> Failure {
        if self.kept().take().is_some() || self.server.urls.len() > 1 {
            self.at.fetch_add(1, Relaxed);
        }
        failure
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self) -> &Url {
        &self.server.urls[self.at.load(Relaxed) % self.server.urls.len()]
    }

    /// Who answers: of a cluster, one of its nodes, and nobody knows which one.
    pub(super) fn peer(&self) -> Peer {
        let RedisServer { urls, is_cluster, .. } = &self.server;
        let address = match is_cluster {
            true => {
                let nodes: Vec<String> = urls.iter().map(address_of).collect();
                format!("the cluster of {}", nodes.join(", "))
            }
            false => address_of(self.url()),
        };
        Peer { address, is_cluster: *is_cluster }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let timeout = self.server.timeout;
        let connect_timeout = CONNECT_DEADLINE.min(timeout);
        if self.server.is_cluster {
            let nodes = self.server.urls.iter().map(|url| self.server.node(url));
            let builder = ClusterClient::builder(nodes.collect::<RedisResult<Vec<_>>>()?)
                .connection_timeout(connect_timeout)
                .response_timeout(timeout)
                // What fails is tried again by the listener, which says so.
                .retries(2);
            let builder = match self.server.certificates() {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            return Ok(Connection::Cluster(builder.build()?.get_async_connection().await?));
        }
        Ok(Connection::Server(self.connect_to(self.url()).await?))
    }

    async fn connect_to(&self, url: &Url) -> RedisResult<MultiplexedConnection> {
        let timeout = self.server.timeout;
        let node = self.server.node(url)?;
        let client = match self.server.certificates() {
            Some(certificates) => Client::build_with_tls(node, certificates)?,
            None => Client::open(node)?,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_DEADLINE.min(timeout)))
            .set_response_timeout(Some(timeout));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// What the first node says that answers such a question; `None` where none does, or may not.
    pub(super) async fn first_answer(&self, question: &Cmd) -> Option<String> {
        for url in &self.server.urls {
            let answer = async {
                let mut connection = self.connect_to(url).await?;
                question.query_async::<String>(&mut connection).await
            };
            if let Ok(Ok(text)) = timeout(NODE_DEADLINE, answer).await {
                return Some(text);
            }
        }
        None
    }

    /// How each host is that the config names.
    pub(super) async fn hosts(&self) -> Vec<HostLook> {
        let looks = self.server.urls.iter().map(|url| {
            let look = async move {
                let ping = async {
                    let mut connection = self.connect_to(url).await?;
                    redis::cmd("PING").query_async::<Value>(&mut connection).await
                };
                match ping.await {
                    Err(error) if error.code() != Some("NOPERM") => Err(error.to_string()),
                    _ => Ok("answers"),
                }
            };
            (address_of(url), look)
        });
        look_at_each(looks).await
    }
}

fn address_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(6379))
}

impl RedisServer {
    fn node(&self, url: &Url) -> RedisResult<ConnectionInfo> {
        let node = url.as_str().into_connection_info()?;
        let mut settings = node.redis_settings().clone().set_skip_set_lib_name();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            // A file may hold another one by now.
            settings = settings.set_password(password.renewed().expose());
        }
        Ok(node.set_redis_settings(settings))
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let root_cert = self.ca.clone().filter(|_| self.is_tls())?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
    }
}

impl Connection {
    async fn run(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::Server(connection) => pipeline.query_async(connection).await,
            Self::Cluster(connection) => pipeline.query_async(connection).await,
        }
    }

    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

impl Written {
    fn add(&mut self, call: &[&Command<'_>], reply: &Value) {
        if let Value::Array(replies) = reply {
            call.iter().zip(replies).for_each(|(command, reply)| self.add_one(command, reply));
        } else {
            call.iter().for_each(|command| self.add_one(command, reply));
        }
    }

    fn add_one(&mut self, command: &Command<'_>, reply: &Value) {
        match (&command.work, reply) {
            (Work::Row { .. } | Work::Script { .. }, Value::Int(0)) => self.conflicts += 1,
            (Work::Row { row: None, .. }, _) => self.deletes += 1,
            (Work::Script { name: ScriptName::Delete, .. }, _) => self.deletes += 1,
            (Work::Unlink, Value::Int(keys)) => self.deletes += u64::try_from(*keys).unwrap_or(0),
            _ => self.rows += 1,
        }
    }
}

/// The commands by calls: rows that are written whole are one call, the others one each.
fn calls<'c, 'a>(commands: &[&'c Command<'a>]) -> Vec<Vec<&'c Command<'a>>> {
    let is_row = |command: &&&Command<'_>| matches!(command.work, Work::Row { .. });
    let rows: Vec<_> = commands.iter().filter(is_row).copied().collect();
    let others = commands.iter().filter(|command| !is_row(command));
    let others = others.map(|command| vec![*command]);
    rows.chunks(MAX_ROWS).map(<[_]>::to_vec).chain(others).collect()
}

/// The commands in requests of a bounded size, in their order.
fn requests<'c, 'a>(commands: Vec<&'c Command<'a>>, max_bytes: usize) -> Vec<Vec<&'c Command<'a>>> {
    let (mut requests, mut request, mut bytes) = (Vec::new(), Vec::new(), 0);
    for command in commands {
        let is_full = request.len() == MAX_COMMANDS || bytes + command.bytes() > max_bytes;
        if is_full && !request.is_empty() {
            requests.push(std::mem::take(&mut request));
            bytes = 0;
        }
        bytes += command.bytes();
        request.push(command);
    }
    if !request.is_empty() {
        requests.push(request);
    }
    requests
}

/// The commands of each key, in their order.
fn by_key<'c, 'a>(commands: &'c [Command<'a>]) -> Vec<Vec<&'c Command<'a>>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Vec<&Command<'_>>> = Vec::new();
    for command in commands {
        let at = *places.entry(&command.key).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(command),
            None => groups.push(vec![command]),
        }
    }
    groups
}
