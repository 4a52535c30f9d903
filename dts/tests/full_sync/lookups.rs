//! A row is found by the key that its event has, and by no other, in tables with every kind of key.

use anyhow::{Context as _, Result, ensure};
use change_event::Columns;
use e2e::{oracle::quoted, programs::size, servers::execute, source};
use mysql_async::{Conn as Client, Row};
use source_table::{Bounds, Conn, Description, TableError, session};

use super::{ReadRow, read_page, reader};

/// Rows that are found by their keys, several with one query.
pub(super) async fn check_lookups(conn: &mut Conn, description: &Description) -> Result<()> {
    let page = read_page(conn, description, (None, &Bounds::default()), size(120, 2_000)).await?;
    let first = page.rows.first().context("no rows")?;
    let names = Columns::read(&first.pk)?;
    let names: Vec<&str> = names.iter().map(|(name, _)| name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let lookup = match description.lookup(&names) {
        Ok(lookup) => lookup,
        // MariaDB allows GEOMETRY and VECTOR in a key.
        Err(TableError::Refused { problem, .. }) if problem.contains("no row is found by") => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for some in page.rows.chunks(40) {
        let (mut keys, mut some) = (Vec::new(), some.to_vec());
        // An empty member is told from an invalid one by no event.
        some.retain(|row| !is_vague(description, &row.pk));
        for row in &some {
            let key = lookup.key(conn, &Columns::read(&row.pk)?).await?;
            keys.push(key.with_context(|| format!("{} is not read as a key", row.pk))?);
        }
        if keys.is_empty() {
            continue;
        }
        let (sql, params) = lookup.settling_query(&keys);
        conn.exec_drop(sql, params).await?;
        let (sql, params) = lookup.query(&keys);
        let found: Vec<Row> = conn.exec(&sql, params).await.with_context(|| sql.clone())?;
        let mut out = Vec::new();
        let writer = lookup.writer(found.first().context("nothing is found")?.columns_ref())?;
        let mut read = Vec::new();
        for row in &found {
            out.clear();
            let written = writer.write(row, &mut out)?;
            let text = |range| String::from_utf8_lossy(&out[range]).into_owned();
            read.push((text(written.pk), text(written.data)));
        }
        for ReadRow { pk, data, .. } in &some {
            let same: Vec<_> = read.iter().filter(|(found, _)| found == pk).collect();
            ensure!(same.len() == 1 && same[0].1 == *data, "{pk} {data}: {same:?}");
        }
    }
    Ok(())
}

fn is_vague(description: &Description, pk: &str) -> bool {
    let has_empty = description.columns.iter().any(|column| column.declared.contains(",'',"));
    has_empty && pk.contains(":\"\"")
}

#[tokio::test]
async fn a_text_is_looked_up_in_its_character_set_and_refused_where_it_has_no_such_text()
-> Result<()> {
    for url in [e2e::servers::mysql_97_url(), e2e::servers::mariadb_118_url()] {
        look_up_names(&url).await?;
    }
    Ok(())
}

async fn look_up_names(url: &str) -> Result<()> {
    let schema = format!("lookups {}", std::process::id());
    let mut client: Client = source::connect(url).await?;
    let (quoted_schema, insert) = (quoted(&schema), "INSERT INTO t VALUES ('Tür', 1), ('b', 2)");
    execute(
        &mut client,
        &[
            &format!("CREATE DATABASE {quoted_schema}"),
            &format!("USE {quoted_schema}"),
            "CREATE TABLE t (name VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY, n INT)",
            insert,
        ],
    )
    .await?;
    let mut conn: Conn = reader(url).await?;
    session(&mut conn).await?;
    let described = source_table::describe(&mut conn, &schema, "t").await?.context("no table")?;
    let lookup = described.lookup(&["name"])?;
    for (key, found) in [("Tür", 1), ("tür", 1), ("c", 0)] {
        let pk = serde_json::json!({ "name": key }).to_string();
        let key = lookup.key(&mut conn, &Columns::read(&pk)?).await?.context("no key")?;
        let (sql, params) = lookup.query(&[key]);
        let rows: Vec<Row> = conn.exec(&sql, params).await?;
        // Who asks compares the keys exactly.
        ensure!(rows.len() == found, "{pk}: {rows:?}");
    }
    let odd = lookup.key(&mut conn, &Columns::read(r#"{"name":"漢"}"#)?).await?;
    ensure!(odd.is_none(), "a text that the column cannot hold: {odd:?}");
    ensure!(matches!(described.lookup(&["gone"]), Err(TableError::Refused { .. })));
    execute(&mut client, &[&format!("DROP DATABASE {quoted_schema}")]).await
}
