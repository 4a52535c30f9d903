//! How each host of a target is, for `event-worker check`: a sink needs one of them, and the others
//! when that is gone.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::target::TargetFinding;

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

/// What is to be told of the hosts. Of a single one the target tells all.
pub(crate) fn told(hosts: &[HostLook]) -> Vec<TargetFinding> {
    if hosts.len() < 2 {
        return Vec::new();
    }
    let told = hosts.iter().map(|HostLook { address, state }| match state {
        Ok(state) => TargetFinding::good(format!("{address} {state}")),
        Err(why) => TargetFinding::doubtful(
            // Some errors name the host themselves.
            match why.contains(address.as_str()) {
                true => why.clone(),
                false => format!("{address}: {why}"),
            },
            "see that it runs, or correct the config; the sink uses the other hosts meanwhile",
        ),
    });
    told.collect()
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
        let found = told(&look_at_each(looks).await);
        let said: Vec<(&str, bool)> =
            found.iter().map(|found| (&*found.what, found.is_doubtful)).collect();
        let hangs = "c:3: it has not answered within 3s";
        assert_eq!(said, [("a:1 answers", false), ("b:2: no route", true), (hangs, true)]);
        assert_eq!(told(&[]), []);
    }
}
