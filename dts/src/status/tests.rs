//! What counts as moving.

use super::*;
use crate::checkpoint::SourcePosition;

#[test]
fn only_a_position_that_moves_or_a_source_without_more_is_something_finished() {
    let status = Status::new("a");
    let at = |pos| {
        let position = SourcePosition { gtids: None, file: "b.000001".to_owned(), pos };
        Saved::new("server".to_owned(), position)
    };
    status.at(&at(4));
    // This is saved whenever a connection has broken.
    status.appended(&at(4), &Appended::default(), &Tally::default());
    assert_eq!(status.finished(), 0);
    status.appended(&at(90), &Appended::default(), &Tally::default());
    assert_eq!(status.finished(), 1);
    status.caught_up();
    assert_eq!(status.finished(), 2);
}
