//! Who may do what: the tokens that clients show, and the rights that come with each.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use service::{Secret, Token, config::Section, glob};
use tonic::{Request, Status, service::Interceptor};

/// What a client may do with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// Append records, open producers.
    Append,
    /// Subscribe, commit, look.
    Read,
    /// Forget and set groups.
    Admin,
}

impl Right {
    const ALL: [Self; 3] = [Self::Append, Self::Read, Self::Admin];
    const WORDS: [&str; 3] = ["append", "read", "admin"];

    fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// A client of the config: `[access.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    name: String,
    token: Secret,
    /// Globs.
    streams: Vec<String>,
    rights: Vec<Right>,
    limits: Limits,
}

/// What a client may take at the most; 0: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    connections: usize,
    record_bytes: u64,
    bytes_per_second: u64,
}

impl ClientConfig {
    /// Reads `[access.NAME]` of each client; mistakes are noted there.
    pub fn read_all(section: &Section) -> Vec<Self> {
        let names: Vec<String> = section.keys().map(str::to_owned).collect();
        let mut clients: Vec<Self> = Vec::new();
        for name in &names {
            let Some(client) = Self::read(name, &section.section(name)) else { continue };
            let same = |other: &&Self| other.token == client.token && section.fetches_secrets();
            if let Some(other) = clients.iter().find(same) {
                let problem = format!("has the token of {}", other.name);
                section.note(name, &problem, "give each client a token of its own");
            }
            clients.push(client);
        }
        clients
    }

    fn read(name: &str, section: &Section) -> Option<Self> {
        let words: Vec<String> = section.or("rights", vec!["read".to_owned()]);
        let rights = words.iter().filter_map(|word| {
            let found = Right::WORDS.iter().position(|known| known == word);
            if found.is_none() {
                let problem = format!("{word:?} is no right");
                section.note("rights", &problem, "write some of append, read, admin");
            }
            found.map(|at| Right::ALL[at])
        });
        let rights = rights.collect();
        let bytes = |key: &str| section.or(key, ByteSize::b(0)).as_u64();
        let limits = Limits {
            connections: section.or("maxConnections", 0),
            record_bytes: bytes("maxRecordBytes"),
            bytes_per_second: bytes("maxBytesPerSecond"),
        };
        let streams = section.or("streams", vec!["*".to_owned()]);
        let Some(token) = section.secret("token") else {
            if !section.has("token") {
                section.note("token", "is missing", r#"write token = { env = "NAME" }"#);
            }
            return None;
        };
        if token.expose().is_empty() {
            section.note("token", "is empty", "set one that nobody guesses");
        }
        Some(Self { name: name.to_owned(), token, streams, rights, limits })
    }
}

/// All clients. Clones are the same.
#[derive(Clone)]
pub(super) struct Access {
    clients: Arc<RwLock<Clients>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Access").finish_non_exhaustive()
    }
}

struct Clients {
    /// Whether nobody needs a token where none is set.
    may_be_open: bool,
    known: Vec<Arc<Client>>,
}

/// A client, and what it takes now.
pub(super) struct Client {
    config: ClientConfig,
    token: Token,
    open: AtomicUsize,
    allowance: Mutex<Allowance>,
    /// Its token or its rights were taken away or changed.
    is_over: AtomicBool,
}

/// What is left of the bytes of a second.
struct Allowance {
    left: u64,
    since: Instant,
}

impl Access {
    /// Everybody who shows `token` may do everything, and each client what its rights are. Without
    /// any of them, all may do everything if it `may_be_open`, and nobody else.
    pub(super) fn new(
        may_be_open: bool,
        (token, clients): (Option<&Secret>, &[ClientConfig]),
    ) -> Self {
        let none = Clients { may_be_open, known: Vec::new() };
        let access = Self { clients: Arc::new(RwLock::new(none)) };
        access.replace(token, clients);
        access
    }

    /// Takes other tokens and rights. A client whose config is the same keeps what it has open; the
    /// calls of all others end with their next batch.
    pub(super) fn replace(&self, token: Option<&Secret>, clients: &[ClientConfig]) {
        let all = token.map(ClientConfig::of_all);
        let mut inner = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        let mut before: BTreeMap<String, Arc<Client>> =
            inner.known.drain(..).map(|client| (client.config.name.clone(), client)).collect();
        let mut kept = |config: &ClientConfig| match before.remove(&config.name) {
            Some(client) if client.config == *config => client,
            changed => {
                changed.iter().for_each(|client| client.is_over.store(true, Relaxed));
                Arc::new(Client::new(config.clone()))
            }
        };
        inner.known = all.iter().chain(clients).map(&mut kept).collect();
        before.values().for_each(|client| client.is_over.store(true, Relaxed));
    }

    fn client(&self, shown: Option<&[u8]>) -> Result<Option<Arc<Client>>, Status> {
        let inner = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        if inner.may_be_open && inner.known.is_empty() {
            return Ok(None);
        }
        // All are compared, so that the time says nothing.
        let mut found = None;
        for client in &inner.known {
            if shown.is_some_and(|shown| client.token.is_shown_by(shown)) {
                found = Some(Arc::clone(client));
            }
        }
        match found {
            Some(client) => Ok(Some(client)),
            None => {
                Err(Status::unauthenticated("the token is missing or wrong: set it under `token`"))
            }
        }
    }
}

/// Who makes a request: `None` where nobody needs a token.
#[derive(Clone)]
pub(super) struct Caller(Option<Arc<Client>>);

impl Interceptor for Access {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get("authorization").map(|shown| shown.as_bytes());
        let caller = Caller(self.client(shown)?);
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        // The interceptor has put it there.
        request.extensions().get::<Self>().cloned().unwrap_or(Self(None))
    }

    /// # Errors
    ///
    /// Which right is missing.
    pub(super) fn check(&self, stream: &str, right: Right) -> Result<(), Status> {
        let Some(client) = &self.0 else { return Ok(()) };
        client.check_current()?;
        let ClientConfig { name, streams, rights, .. } = &client.config;
        let is_named = streams.iter().any(|glob| glob::matches(glob, stream));
        if is_named && rights.contains(&right) {
            return Ok(());
        }
        let word = right.word();
        Err(Status::permission_denied(format!(
            "{name} may not do this with the stream {stream}: it needs the right {word:?} there \
             ([access.{name}] of the server)"
        )))
    }

    /// Whether it has the right, for those who can do with less.
    pub(super) fn may(&self, stream: &str, right: Right) -> bool {
        self.check(stream, right).is_ok()
    }

    /// Counts a call that stays open, until what this gives is dropped.
    ///
    /// # Errors
    ///
    /// When the client has too many of them.
    pub(super) fn open(&self) -> Result<OpenCall, Status> {
        let Some(client) = &self.0 else { return Ok(OpenCall(None)) };
        let limit = client.config.limits.connections;
        let open = client.open.fetch_add(1, Relaxed) + 1;
        let call = OpenCall(Some(Arc::clone(client)));
        if limit > 0 && open > limit {
            let name = &client.config.name;
            // It may go on when one of them has ended.
            return Err(Status::unavailable(format!(
                "{name} has {limit} calls open, the most that it may (maxConnections of \
                 [access.{name}])"
            )));
        }
        Ok(call)
    }

    /// Waits until the client may send so many bytes more.
    ///
    /// # Errors
    ///
    /// When one of the records is larger than it may be.
    pub(super) async fn take(&self, bytes: u64, largest: u64) -> Result<(), Status> {
        let Some(client) = &self.0 else { return Ok(()) };
        let Limits { record_bytes, bytes_per_second, .. } = client.config.limits;
        if record_bytes > 0 && largest > record_bytes {
            let name = &client.config.name;
            return Err(Status::invalid_argument(format!(
                "a record has {largest} bytes, and {name} may send {record_bytes} at the most \
                 (maxRecordBytes of [access.{name}])"
            )));
        }
        if bytes_per_second > 0 {
            let wait = client.allowance().take(bytes, bytes_per_second, Instant::now());
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

/// A call that counts as open.
pub(super) struct OpenCall(Option<Arc<Client>>);

impl OpenCall {
    /// # Errors
    ///
    /// When the client may not go on as it did.
    pub(super) fn check_current(&self) -> Result<(), Status> {
        self.0.as_ref().map_or(Ok(()), |client| client.check_current())
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.open.fetch_sub(1, Relaxed);
        }
    }
}

impl Client {
    fn new(config: ClientConfig) -> Self {
        let token = Token::new(&config.token);
        let allowance = Mutex::new(Allowance { left: 0, since: Instant::now() });
        let (open, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { config, token, open, allowance, is_over }
    }

    fn check_current(&self) -> Result<(), Status> {
        match self.is_over.load(Relaxed) {
            // Whoever connects again learns what it may do now.
            true => Err(Status::unavailable(format!(
                "the token or the rights of {} were changed at the server: connect again",
                self.config.name
            ))),
            false => Ok(()),
        }
    }

    fn allowance(&self) -> std::sync::MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientConfig {
    /// Who shows the token of `[listen]`.
    fn of_all(token: &Secret) -> Self {
        Self {
            name: "listen".to_owned(),
            token: token.clone(),
            streams: vec!["*".to_owned()],
            rights: Right::ALL.to_vec(),
            limits: Limits::default(),
        }
    }
}

impl Allowance {
    /// How long to wait before so many bytes are taken. What was not used of a second is kept for
    /// one more.
    fn take(&mut self, bytes: u64, per_second: u64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.since);
        let earned = (passed.as_secs_f64() * per_second as f64) as u64;
        self.left = self.left.saturating_add(earned).min(per_second);
        // Those that wait already have taken theirs.
        self.since = self.since.max(now);
        let missing = bytes.saturating_sub(self.left);
        self.left = self.left.saturating_sub(bytes);
        let wait = Duration::from_secs_f64(missing as f64 / per_second as f64);
        self.since += wait;
        self.since.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::{File, Mistakes};

    use super::*;

    fn read(toml: &str) -> Result<Vec<ClientConfig>, Mistakes> {
        let file = File::parse(Path::new("event-log.toml"), toml).unwrap();
        let clients = ClientConfig::read_all(&file.root().section("access"));
        file.finish(clients)
    }

    fn caller(access: &Access, token: &str) -> Result<Caller, Status> {
        let mut request = Request::new(());
        let shown = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", shown);
        access.clone().call(request).map(|request| Caller::of(&request))
    }

    const CLIENTS: &str = "
        [access.app]
        token = 'a'
        streams = ['log-*', 'audit']
        rights = ['append']
        [access.reader]
        token = 'r'
        [access.boss]
        token = 'b'
        rights = ['read', 'admin']
        maxConnections = 2
        maxRecordBytes = '1KiB'
    ";

    #[test]
    fn each_client_may_do_what_its_rights_are_and_nothing_else() {
        let access = Access::new(true, (None, &read(CLIENTS).unwrap()));
        let [app, reader, boss] = ["a", "r", "b"].map(|token| caller(&access, token).unwrap());
        for (who, stream, rights) in [
            (&app, "log-1", [true, false, false]),
            (&app, "audit", [true, false, false]),
            (&app, "audit2", [false, false, false]),
            (&reader, "log-1", [false, true, false]),
            (&boss, "x", [false, true, true]),
        ] {
            assert_eq!(Right::ALL.map(|right| who.may(stream, right)), rights, "{stream}");
        }
        let refused = app.check("log-1", Right::Read).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(refused.message().contains("the right \"read\" there ([access.app]"), "{refused}");
        for wrong in ["", "x", "aa"] {
            assert_eq!(caller(&access, wrong).err().unwrap().code(), tonic::Code::Unauthenticated);
        }
    }

    #[test]
    fn the_token_of_listen_may_do_everything_and_without_any_token_all_may() {
        let token = Secret::new("t".to_owned());
        let access = Access::new(true, (Some(&token), &read(CLIENTS).unwrap()));
        assert!(caller(&access, "t").unwrap().may("x", Right::Admin));
        access.replace(None, &[]);
        assert!(caller(&access, "").unwrap().may("x", Right::Admin));
        let outside = Access::new(false, (Some(&token), &[]));
        outside.replace(None, &[]);
        assert!(caller(&outside, "t").is_err(), "it can be reached from outside");
    }

    #[test]
    fn who_lost_its_token_or_has_other_rights_goes_on_with_nothing() {
        let mut clients = read(CLIENTS).unwrap();
        let access = Access::new(true, (None, &clients));
        let [app, reader] = ["a", "r"].map(|token| caller(&access, token).unwrap());
        let open = reader.open().unwrap();
        clients.retain(|client| client.name != "reader");
        clients[0].rights.push(Right::Read);
        access.replace(None, &clients);
        assert!(!app.may("log-1", Right::Append) && open.check_current().is_err());
        assert!(caller(&access, "a").unwrap().may("log-1", Right::Read));
    }

    #[test]
    fn a_client_that_stays_the_same_keeps_what_it_has_open() {
        let clients = read(CLIENTS).unwrap();
        let access = Access::new(true, (None, &clients));
        let boss = caller(&access, "b").unwrap();
        let (first, second) = (boss.open().unwrap(), boss.open().unwrap());
        access.replace(None, &clients[..2]);
        assert!(caller(&access, "b").is_ok(), "the order is that of the names: app, boss, reader");
        let again = caller(&access, "b").unwrap();
        let refused = again.open().err().unwrap();
        assert!(refused.message().starts_with("boss has 2 calls open"), "{refused}");
        drop(first);
        assert!(again.open().is_ok());
        drop(second);
    }

    #[test]
    fn what_cannot_be_a_client_is_told() {
        let text = "[access.a]\nrights = ['write']\n[access.b]\ntoken = ''\nstream = 'x'\n\
                    [access.c]\ntoken = 't'\n[access.d]\ntoken = 't'";
        let said = read(text).unwrap_err().to_string();
        for part in [
            "access.a.rights: \"write\" is no right",
            "access.a.token: is missing",
            "access.b.token: is empty",
            "access.b.stream",
            "access.d: has the token of c",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }

    #[test]
    fn bytes_beyond_those_of_a_second_wait_as_long_as_they_take() {
        let now = Instant::now();
        let mut allowance = Allowance { left: 0, since: now };
        let mut take =
            |bytes, ms| allowance.take(bytes, 1000, now + Duration::from_millis(ms)).as_millis();
        assert_eq!(take(500, 0), 500);
        assert_eq!(take(500, 0), 1000);
        assert_eq!(take(100, 1000), 100);
        // A second unused is worth one second, and two are not worth more.
        assert_eq!(take(1000, 9000), 0);
        assert_eq!(take(1000, 9000), 1000);
    }
}
