//! A real MySQL and a real MariaDB: `scripts/servers.sh up`.

use mysql_async::{Conn, Opts};

/// Where they are, and the variables that name others.
const SERVERS: [(&str, &str); 2] = [
    ("TEST_MYSQL_97", "mysql://root@127.0.0.1:23397"),
    ("TEST_MARIADB_118", "mysql://root@127.0.0.1:23318"),
];

/// The URL of each, and a connection.
pub(crate) async fn all() -> Vec<(String, Conn)> {
    let mut all = Vec::new();
    for (variable, url) in SERVERS {
        let url = std::env::var(variable).unwrap_or_else(|_| url.to_owned());
        let conn = Conn::new(Opts::from_url(&url).unwrap()).await;
        all.push((url, conn.expect("the server is not there: run scripts/servers.sh up")));
    }
    all
}
