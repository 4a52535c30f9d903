//! Canal's stored cursor: `meta.dat` of an instance, or the ZooKeeper node
//! `/otter/canal/destinations/NAME/CLIENT/cursor`.
//!
//! A cursor is `{"identity":{…},"postion":{"journalName":…,"position":…,"gtid":…,…}}`, with this
//! spelling. `position` is where the acknowledged event begins. `gtid`, if Canal uses GTIDs, is the
//! whole set, with the acknowledged transaction.

use serde::Deserialize;
use serde_json::Value;

use super::{Choice, Sent, Stopped, Tool, choose, gtids_of};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CanalInstance {
    destination: String,
    #[serde(default)]
    client_datas: Vec<CanalClient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CanalClient {
    client_identity: Identity,
    #[serde(default)]
    cursor: Option<CanalCursor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    #[serde(default)]
    client_id: i64,
}

#[derive(Deserialize)]
struct CanalCursor {
    #[serde(alias = "position")]
    postion: CanalEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CanalEntry {
    journal_name: String,
    position: u64,
    #[serde(default)]
    gtid: Option<String>,
}

/// Reads the cursor of one destination; without its name there must be only one. The bytes may have
/// several files, one after the other.
///
/// # Errors
///
/// Refused, when the bytes are something else, or it is not clear which cursor is meant.
pub fn read_canal(bytes: &[u8], destination: Option<&str>) -> Result<Stopped> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        collect(value.map_err(not_a_cursor)?, &mut found).map_err(not_a_cursor)?;
    }
    let asked = destination.filter(|_| found.iter().any(|(name, _)| !name.is_empty()));
    let what = Choice { kind: "destination", option: "--destination" };
    let entry = choose(found, asked, what)?;
    Ok(Stopped {
        tool: Tool::Canal,
        gtids: gtids_of(entry.gtid.as_deref())?,
        file: entry.journal_name,
        pos: entry.position,
        sent: Sent::default(),
    })
}

/// Adds the cursors of one JSON value: an instance has one per client, and its name.
fn collect(value: Value, found: &mut Vec<(String, CanalEntry)>) -> serde_json::Result<()> {
    if value.get("clientDatas").is_none() {
        let cursor: CanalCursor = serde_json::from_value(value)?;
        found.push((String::new(), cursor.postion));
        return Ok(());
    }
    let CanalInstance { destination, client_datas } = serde_json::from_value(value)?;
    let several = client_datas.len() > 1;
    for client in client_datas {
        let Some(cursor) = client.cursor else { continue };
        let id = client.client_identity.client_id;
        let name = if several { format!("{destination}/{id}") } else { destination.clone() };
        found.push((name, cursor.postion));
    }
    Ok(())
}

fn not_a_cursor(error: serde_json::Error) -> Error {
    Error::refused(
        format!("this is not a stored position of Canal: {error}"),
        "name meta.dat of the instance, or what `get …/cursor` of ZooKeeper's client prints",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"clientDatas":[{"clientIdentity":{"clientId":1001,"destination":"example","filter":".*\\..*"},"cursor":{"identity":{"slaveId":-1,"sourceAddress":{"address":"127.0.0.1","port":3306}},"postion":{"gtid":"","included":false,"journalName":"binlog.000335","position":221691106,"serverId":1,"timestamp":1524294834000}}}],"destination":"example"}"#;
    const NODE: &str = r#"{"@type":"com.alibaba.otter.canal.protocol.position.LogPosition","identity":{"slaveId":-1,"sourceAddress":{"address":"db","port":3306}},"postion":{"gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","included":false,"journalName":"binlog.000001","position":457,"serverId":1,"timestamp":1627268042000}}"#;

    #[test]
    fn a_cursor_is_read_from_the_file_and_from_the_node() {
        let file = read_canal(FILE.as_bytes(), None).unwrap();
        assert_eq!(
            (file.file.as_str(), file.pos, file.gtids),
            ("binlog.000335", 221_691_106, None)
        );
        let node = read_canal(NODE.as_bytes(), Some("any")).unwrap();
        assert_eq!((node.file.as_str(), node.pos), ("binlog.000001", 457));
        assert_eq!(node.gtids.unwrap().count(), 5);
    }

    #[test]
    fn one_of_several_is_chosen_by_name() {
        let both = FILE.to_owned() + &FILE.replace("\"example\"", "\"other\"");
        let error = read_canal(both.as_bytes(), None).unwrap_err().to_string();
        assert!(error.contains("example, other") && error.contains("--destination"), "{error}");
        assert!(read_canal(both.as_bytes(), Some("other")).is_ok());
        let error = read_canal(both.as_bytes(), Some("third")).unwrap_err().to_string();
        assert!(error.contains("there is no destination third"), "{error}");
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "{}", "[]", "rubbish", r#"{"clientDatas":[],"destination":"example"}"#] {
            assert!(read_canal(text.as_bytes(), None).is_err(), "{text}");
        }
        assert!(read_canal(FILE.replace("221691106", "-1").as_bytes(), None).is_err());
    }
}
