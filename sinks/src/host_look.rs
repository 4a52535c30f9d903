//! How each host of a target is, for `event-worker check`: a sink needs one of them, and the others
//! when that is gone.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

/// A host that has not answered after this time hangs.
const HOST_DEADLINE: Duration = Duration::from_secs(3);

/// A host, and what it is, or why it does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostLook {
    pub(crate) address: String,
    pub(crate) state: Result<&'static str, String>,
}

/// Looks at all hosts at the same time.
pub(crate) async fn look_at_each<F>(hosts: impl Iterator<Item = (String, F)>) -> Vec<HostLook>
where
    F: Future<Output = Result<&'static str, String>>,
{
    let looks = hosts.map(async |(address, look)| {
        let state = timeout(HOST_DEADLINE, look).await;
        let late = |_| Err(format!("it has not answered within {HOST_DEADLINE:?}"));
        HostLook { address, state: state.unwrap_or_else(late) }
    });
    join_all(looks).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_host_is_told_and_one_that_hangs_does_not_hide_the_others() {
        let hosts = [("a:1", Some(Ok("answers"))), ("b:2", Some(Err("no route"))), ("c:3", None)];
        let looks = hosts.into_iter().map(|(address, state)| {
            let look = async move {
                match state {
                    Some(state) => state.map_err(str::to_owned),
                    None => std::future::pending().await,
                }
            };
            (address.to_owned(), look)
        });
        let looks = look_at_each(looks).await;
        let said: Vec<_> = looks
            .iter()
            .map(|look| (&*look.address, look.state.as_ref().map_err(String::as_str).copied()))
            .collect();
        let hangs = Err("it has not answered within 3s");
        assert_eq!(said, [("a:1", Ok("answers")), ("b:2", Err("no route")), ("c:3", hangs)]);
    }
}
