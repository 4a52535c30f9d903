//! The source's own table as the target.

use handler::Outcome;

use super::Target;
use crate::changes::{change, give};

#[tokio::test]
async fn the_table_that_the_changes_are_of_is_never_written_to() {
    for mut target in Target::all().await {
        // MariaDB's GTIDs do not tell the server.
        let Some(uuid) = target.uuid().await else { continue };
        target.run("CREATE TABLE S.item (id INT PRIMARY KEY)").await;
        let sink = target.sink("");
        let mut own = change(1, "insert", 1, "", None);
        own.json = own.json.replace("\"shop\"", &format!("\"{}\"", target.schema));
        let other = own.clone();
        let source = format!("\"serverId\":1,\"gtid\":\"{uuid}:5\"");
        own.json = own.json.replace("\"serverId\":1", &source);
        let Outcome::Failed(failure) = give(&sink, &[own]).await else { panic!("it is written") };
        assert!(failure.reason.contains("is the source itself"), "{failure:?}");
        assert!(target.rows("SELECT id FROM S.item").await.is_empty());
        assert_eq!(give(&sink, &[other]).await, Outcome::Done);
        target.end().await;
    }
}
