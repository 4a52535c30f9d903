//! What MariaDB has that MySQL has not, or has otherwise.

use anyhow::Result;
use mysql_async::Conn;
use rand::{RngExt as _, rngs::StdRng};

use super::{
    Domain, Role, Sample, Table, TextCharset,
    domain::{hex_text, quoted},
    pieces::{byte, day_time, text},
    samples,
};

/// [`SESSION`](super::SESSION), by MariaDB's names.
pub const MARIADB_SESSION: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', \
     time_zone = '+00:00', group_concat_max_len = 1000000, explicit_defaults_for_timestamp = ON";

const UUIDS: &str = "00000000-0000-0000-0000-000000000000 ffffffff-ffff-ffff-ffff-ffffffffffff \
     123e4567-e89b-12d3-a456-426655440000 6ccd780c-baba-1026-9564-5b8c656024db \
     f47ac10b-58cc-4372-a567-0e02b2c3d479 017f22e2-79b0-7cc3-98c4-dc0c0c07398f \
     00000000-0000-0000-0000-000000000001 ff000000-0000-0000-0000-000000000000";
const INET4S: &str = "0.0.0.0 255.255.255.255 10.0.0.0 127.0.0.1 1.2.3.4 0.0.0.1 192.168.0.0";
const INET6S: &str = ":: ::1 ::2 ::1:0 ::1.2.3.4 ::ffff:1.2.3.4 2001:db8::ff00:42:8329 fe80:: \
     1:2:3:4:5:6:7:8 1::8 1:0:0:4:0:0:0:8 1:0:3:4:5:6:7:8 0:0:3:4:5:6:0:0 1:0:0:4:5:0:0:8 \
     ::ffff:0:0 64:ff9b::1.2.3.4 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 0:2:3:4:5:6:7:8 \
     1:2:3:4:5:6:7:0 ::1:0:0 ::ffff:0.0.0.1 abcd::ABCD";
const DOCUMENTS: &str = r#"null true 0 -1.50 1e3 "" "a" [] {} [1,2,{"b":null,"a":"\\u00e9"}] "#;
const LATE: &str = "2038-01-19T03:14:08 2038-01-19T03:14:07.999999 2070-06-07T08:09:10.123456 \
     2106-02-07T06:28:15 2106-02-07T06:28:14.5 1970-01-01T00:00:01";

/// All tables, of the types that a MariaDB has: UUID came with 10.7, INET4 with 10.10, a TIMESTAMP
/// up to 2106 with 11.5. JSON is text there, so that nothing is opaque in it.
///
/// # Errors
///
/// When it does not answer.
pub async fn mariadb_samples(conn: &mut Conn) -> Result<Vec<Sample>> {
    let mut tables = samples(conn).await?;
    tables.retain(|sample| sample.table.name != "opaques");
    for Sample { table, .. } in &mut tables {
        for column in &mut table.columns {
            column.domain = translated(column.domain.clone());
            if let Role::Generated(expression) = column.role {
                column.role = Role::Unlogged(expression);
            }
        }
    }
    tables.push(Sample { table: compressed(), weight: 60 });
    tables.push(Sample { table: addresses(), weight: 100 });
    if conn.server_version() >= (11, 5, 0) {
        let columns = (0..=6).map(|n| (format!("ts{n}"), Domain::LateTimestamp(n)));
        tables.push(Sample { table: Table::new("late", columns), weight: 40 });
    }
    Ok(tables)
}

fn translated(domain: Domain) -> Domain {
    match domain {
        Domain::Json => Domain::JsonText,
        Domain::Text(kind, TextCharset::Utf8mb4, fits) => {
            Domain::Text(kind, TextCharset::MariadbNopad, fits)
        }
        other => other,
    }
}

fn compressed() -> Table {
    use TextCharset::{Ascii, Latin1, MariadbNopad, Utf8mb4Bin};
    let columns = [
        ("v60", Domain::Text("VARCHAR(60) COMPRESSED", MariadbNopad, 60)),
        ("v254", Domain::Text("VARCHAR(254) COMPRESSED", Latin1, 254)),
        ("v255", Domain::Text("VARCHAR(255) COMPRESSED", Ascii, 255)),
        ("v256", Domain::Text("VARCHAR(256) COMPRESSED", Latin1, 256)),
        ("v9", Domain::Text("VARCHAR(9000) COMPRESSED", Utf8mb4Bin, 9000)),
        ("tt", Domain::Text("TINYTEXT COMPRESSED", Latin1, 200)),
        ("tx", Domain::Text("TEXT COMPRESSED", MariadbNopad, 16_000)),
        ("tl", Domain::Text("LONGTEXT COMPRESSED", Latin1, 100_000)),
        ("vb", Domain::Binary("VARBINARY(300) COMPRESSED")),
        ("bl", Domain::Binary("BLOB COMPRESSED")),
        ("bm", Domain::Binary("MEDIUMBLOB COMPRESSED")),
    ];
    Table::new("compressed", columns.map(|(name, domain)| (name.to_owned(), domain)))
}

fn addresses() -> Table {
    let columns = [
        ("u", Domain::Uuid),
        ("b16", Domain::Binary("BINARY(16)")),
        ("i4", Domain::Inet4),
        ("b4", Domain::Binary("BINARY(4)")),
        ("i6", Domain::Inet6),
        ("u2", Domain::Uuid),
        ("j", Domain::JsonText),
    ];
    Table::new("addresses", columns.map(|(name, domain)| (name.to_owned(), domain)))
}

pub(super) fn edges(domain: &Domain) -> Vec<String> {
    match domain {
        Domain::Uuid => quoted(UUIDS),
        Domain::Inet4 => quoted(INET4S),
        Domain::Inet6 => quoted(INET6S),
        Domain::LateTimestamp(_) => quoted(LATE),
        _ => DOCUMENTS.split(' ').filter(|text| !text.is_empty()).map(hex_text).collect(),
    }
}

pub(super) fn random(domain: &Domain, rng: &mut StdRng) -> String {
    match domain {
        Domain::Uuid => {
            let [a, b, c, d, e] = [8, 4, 4, 4, 12].map(|digits| hex_digits(rng, digits));
            format!("'{a}-{b}-{c}-{d}-{e}'")
        }
        Domain::Inet4 => {
            let parts = [(); 4].map(|()| byte(rng).to_string());
            format!("'{}'", parts.join("."))
        }
        Domain::Inet6 => {
            let parts = [(); 8]
                .map(|()| if rng.random_bool(0.5) { "0".to_owned() } else { hex_digits(rng, 4) });
            format!("'{}'", parts.join(":"))
        }
        Domain::LateTimestamp(_) => format!(
            "'{:04}-{:02}-{:02} {}'",
            rng.random_range(1971..2106),
            rng.random_range(1..=12),
            rng.random_range(1..=28),
            day_time(rng)
        ),
        _ => {
            let length = rng.random_range(0..20);
            let text = text(rng, length);
            let document = serde_json::json!({"n": rng.random::<i64>(), "text": text, "a": [1.5]});
            hex_text(&document.to_string())
        }
    }
}

fn hex_digits(rng: &mut StdRng, count: usize) -> String {
    (0..count).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0')).collect()
}
