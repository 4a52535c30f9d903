//! Users, passwords, TLS, and what `check` says.

use std::{path::Path, process::Command};

use handler::Outcome;

use super::server::{Server, cluster, free_port};
use crate::changes::{change, give, sink};

const ALL: &str = "set = 'item:{{ PK.id }}'\nhset = 'hash:{{ PK.id }}'\ndelete = 'list:{{ PK.id }}'\n\
                   publish = 'channel:{table}'\nxadd = 'stream:{table}'";

/// The rights of docs/sinks.md for a cluster.
const GRANTS: &str = "worker on >s3cret +eval +evalsha +mget +mset +get +set +unlink +hset +hdel \
                      +pexpire +xadd +publish ~item:* ~{item:* &item:* +cluster|slots";

/// What a check finds wrong, with the remedy.
async fn wrong(toml: &str) -> Vec<(String, String)> {
    let found = sink("redis", toml).check(&[]).await;
    let wrong = found.into_iter().filter(|found| found.is_wrong);
    wrong.map(|found| (found.what, found.remedy)).collect()
}

#[tokio::test]
async fn a_check_names_the_grants_and_with_them_everything_works() {
    let server = Server::start(&[]).await;
    let mut admin = server.admin().await;
    let mut grant = async |statement: &str| {
        let mut words = statement.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        cmd.arg(words.collect::<Vec<_>>());
        cmd.exec_async(&mut admin).await.unwrap();
    };
    grant("ACL SETUSER worker on >s3cret").await;
    let toml = format!("url = '{}'\nuser = 'worker'\npassword = 's3cret'\n{ALL}", server.url());
    // Of keys the server tells only once the command is allowed.
    for round in 0..3 {
        let found = wrong(&toml).await;
        let Some((what, remedy)) = found.first() else { break };
        assert!(round < 2, "{found:?}");
        assert!(what.contains("the user worker may not"), "{what}");
        assert!(remedy.starts_with("ACL SETUSER worker +"), "{remedy}");
        grant(remedy).await;
    }
    let event = change(1, "insert", 7, r#""n":null"#, None);
    assert_eq!(give(&sink("redis", &toml), &[event]).await, Outcome::Done);
}

#[tokio::test]
async fn a_check_says_what_is_wrong_with_the_server() {
    let server = Server::start(&[]).await;
    let to = |url: &str| format!("url = '{url}'\n{ALL}");
    assert_eq!(wrong(&to(&server.url())).await, []);
    let found = sink("redis", &to(&server.url())).check(&[]).await;
    let what = &found[0].what;
    assert!(what.contains("is Redis ") || what.contains("is Valkey "), "{what}");
    let wrong_password = format!("{}\npassword = 'no'", to(&server.url()));
    let found = wrong(&wrong_password).await;
    assert!(found[0].0.contains("password"), "{found:?}");
    let mut demote = redis::cmd("REPLICAOF");
    demote.arg("127.0.0.1").arg(1);
    demote.exec_async(&mut server.admin().await).await.unwrap();
    let found = wrong(&to(&server.url())).await;
    assert!(
        found[0].0.contains("read-only replica") || found[0].0.contains("primary"),
        "{found:?}"
    );
    assert!(found[0].1.contains("the primary"), "{found:?}");
    let found = wrong(&to("redis://127.0.0.1:1")).await;
    assert!(found[0].0.contains("refused") && found[0].1.contains("start it"), "{found:?}");
    let full = Server::start(&["--maxmemory", "1"]).await;
    let found = wrong(&to(&full.url())).await;
    assert!(found[0].0.contains("(OOM)"), "{found:?}");
    assert!(found[0].1.starts_with("raise maxmemory"), "{found:?}");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_recognised() {
    let servers = cluster().await;
    let toml = format!("url = '{}'\n{ALL}", servers[0].url());
    let found = wrong(&toml).await;
    assert!(found[0].1.contains("cluster = true"), "{found:?}");
    let toml = format!("{toml}\ncluster = true");
    assert_eq!(wrong(&toml).await, []);
    // What docs/sinks.md names is enough.
    for server in &servers {
        let mut grant = redis::cmd("ACL");
        grant.arg("SETUSER").arg(GRANTS.split(' ').collect::<Vec<_>>());
        grant.exec_async(&mut server.admin().await).await.unwrap();
    }
    let toml = format!("{toml}\nuser = 'worker'\npassword = 's3cret'").replace("hash:", "item:h:");
    let toml = toml.replace("list:", "item:l:").replace("'channel:", "'item:c:");
    let toml = toml.replace("'stream:", "'item:s:");
    assert_eq!(wrong(&toml).await, []);
    let event = change(1, "insert", 7, r#""n":null"#, None);
    assert_eq!(give(&sink("redis", &toml), &[event]).await, Outcome::Done);
}

#[tokio::test]
async fn a_server_is_asked_with_tls_and_its_certificate_is_verified() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let (certificates, server) = (certificates(), Server::start(&[]).await);
    let folder = certificates.path().display().to_string();
    let mut admin = server.admin().await;
    let tls_port = free_port();
    for (name, value) in [
        ("tls-cert-file", format!("{folder}/server.crt")),
        ("tls-key-file", format!("{folder}/server.key")),
        ("tls-ca-cert-file", format!("{folder}/ca.pem")),
        ("tls-auth-clients", "no".to_owned()),
        ("tls-port", tls_port.to_string()),
    ] {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        set.exec_async(&mut admin).await.unwrap();
    }
    let toml = format!("url = 'rediss://127.0.0.1:{tls_port}'\nset = 'a:{{{{ PK.id }}}}'");
    let trusted = format!("{toml}\ncaFile = '{folder}/ca.pem'");
    assert_eq!(wrong(&trusted).await, []);
    let event = change(1, "insert", 7, "", None);
    assert_eq!(give(&sink("redis", &trusted), &[event]).await, Outcome::Done);
    let found = wrong(&toml).await;
    assert!(found[0].0.contains("ertificate"), "{found:?}");
}

/// A certificate for 127.0.0.1 that `ca.pem` signed.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| openssl(folder.path(), arguments);
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(&format!("req -x509 {key} -days 30 -subj /CN=ca -keyout ca.key -out ca.pem"));
    run(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
    std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    run("x509 -req -days 30 -in server.csr -out server.crt -CA ca.pem -CAkey ca.key \
         -CAcreateserial -extfile names");
    folder
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
