//! Calls the API of a running event-worker, for the other commands.

use std::time::Duration;

use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::{Address, Listen};

use crate::error::Error;

/// Calls the API at one address.
pub(crate) struct ApiClient<'a> {
    listen: &'a Listen,
    client: reqwest::Client,
    address: Address,
}

/// Why a call did not succeed.
pub(crate) enum NoAnswer {
    /// Nothing listens there.
    Nobody(Address),
    /// It answered with an error.
    Refused { status: StatusCode, message: String, remedy: String },
    /// It took the call, but did not answer in time.
    Hangs(Address),
    /// What answers is not an event-worker, or not a healthy one; with the reason.
    Strange(Address, String),
}

impl NoAnswer {
    /// Whether the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Nobody(_) | Self::Hangs(_) | Self::Strange(..) => true,
            Self::Refused { status, .. } => status.is_server_error(),
        }
    }
}

impl<'a> ApiClient<'a> {
    pub(crate) fn new(listen: &'a Listen) -> Result<Self, Error> {
        let address = listen.address.from_here();
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { listen, client, address })
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<T, NoAnswer> {
        self.call(self.client.get(self.url(path)).timeout(deadline)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        deadline: Duration,
    ) -> Result<T, NoAnswer> {
        let request = self.client.post(self.url(path)).body(body.to_string());
        self.call(request.header("content-type", "application/json").timeout(deadline)).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        mut request: reqwest::RequestBuilder,
    ) -> Result<T, NoAnswer> {
        if let Some(token) = &self.listen.token {
            request = request.bearer_auth(token.expose());
        }
        let failed = |error: reqwest::Error| match &error {
            _ if error.is_connect() => NoAnswer::Nobody(self.address.clone()),
            _ if error.is_timeout() => NoAnswer::Hangs(self.address.clone()),
            _ => self.strange(error.to_string()),
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.text().await.map_err(failed)?;
        if status.is_success() {
            let foreign = "its answer is not one of event-worker";
            return serde_json::from_str(&body).map_err(|_| self.strange(foreign));
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |key: &str| answer["error"][key].as_str().map(str::to_owned);
        match (text("message"), text("remedy")) {
            (Some(message), Some(remedy)) => Err(NoAnswer::Refused { status, message, remedy }),
            _ => Err(self.strange(format!("it answered {status}: is that an event-worker?"))),
        }
    }

    /// What answers is not an event-worker, or not a healthy one.
    pub(crate) fn strange(&self, why: impl Into<String>) -> NoAnswer {
        NoAnswer::Strange(self.address.clone(), why.into())
    }
}

impl From<NoAnswer> for Error {
    fn from(answer: NoAnswer) -> Self {
        let (address, reason) = match answer {
            NoAnswer::Nobody(address) => (address, "nothing listens there".to_owned()),
            NoAnswer::Hangs(address) => return Self::Hangs(address),
            NoAnswer::Strange(address, reason) => (address, reason),
            NoAnswer::Refused { message, remedy, .. } => {
                return Self::ApiRefused { message, remedy };
            }
        };
        Self::NoAnswer { address, reason }
    }
}
