//! A connection for questions, each with a deadline: if a server lets us in and is then silent, the
//! question fails, and we do not wait for ever.

use std::{io, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use mysql_async::{
    Conn as Client, DriverError, Error, IoError, Params, QueryResult, Result, Row, from_row_opt,
    prelude::{AsQuery, FromRow, Protocol, Query, Queryable, StatementLike, WithParams},
};

/// How long an answer, or its next row, may take if the caller sets nothing else.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long the next row may take where the reader decides the pace: a row may be large, and the
/// line slow.
const MAX_ROW_WAIT: Duration = Duration::from_mins(2);

/// A connection to MySQL. When it is dropped during a question, it is closed at once: the client
/// would otherwise wait for the rest of an answer that may never come.
#[derive(Debug)]
pub struct Conn {
    /// `None` only after a call that consumes the connection.
    client: Option<Client>,
    max_wait: Duration,
    /// Whether a question was asked, and its answer did not come to its end.
    is_asking: bool,
}

impl From<Client> for Conn {
    fn from(client: Client) -> Self {
        Self { client: Some(client), max_wait: MAX_WAIT, is_asking: false }
    }
}

impl Conn {
    /// For questions to which a healthy server may take long to answer.
    #[must_use]
    pub fn waiting(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// From now on an answer may take this long; returns the earlier limit.
    pub fn allow(&mut self, max_wait: Duration) -> Duration {
        std::mem::replace(&mut self.max_wait, max_wait)
    }

    /// The server's version, as three numbers.
    pub fn server_version(&self) -> (u16, u16, u16) {
        self.client.as_ref().map_or((0, 0, 0), Client::server_version)
    }

    /// The number of warnings about the last statement.
    pub fn get_warnings(&self) -> u16 {
        self.client.as_ref().map_or(0, Client::get_warnings)
    }

    /// Asks whether the server answers.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn ping(&mut self) -> Result<()> {
        let (client, max_wait) = self.begin()?;
        let answer = within(max_wait, client.ping()).await;
        self.end(answer)
    }

    /// Says goodbye to the server.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn disconnect(mut self) -> Result<()> {
        let client = self.client.take().ok_or_else(silent)?;
        within(self.max_wait, client.disconnect()).await
    }

    /// Asks, and returns all rows.
    ///
    /// # Errors
    ///
    /// The client's errors; also when an answer or its next row does not come in time.
    pub async fn query<T, Q>(&mut self, query: Q) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
        Q: AsQuery,
    {
        let (client, max_wait) = self.begin()?;
        let asked = async {
            let answer = within(max_wait, client.query_iter(query)).await?;
            collect(max_wait, answer).await
        };
        let rows = asked.await;
        self.end(rows)
    }

    /// Asks, and returns the first row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn query_first<T, Q>(&mut self, query: Q) -> Result<Option<T>>
    where
        T: FromRow + Send + 'static,
        Q: AsQuery,
    {
        Ok(self.query(query).await?.into_iter().next())
    }

    /// Runs a statement.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn query_drop<Q: AsQuery>(&mut self, query: Q) -> Result<()> {
        self.query::<Row, Q>(query).await.map(drop)
    }

    /// Asks with values, and returns all rows.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn exec<T, S, P>(&mut self, statement: S, values: P) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
        S: StatementLike,
        P: Into<Params> + Send,
    {
        let (client, max_wait) = self.begin()?;
        let asked = async {
            let answer = within(max_wait, client.exec_iter(statement, values)).await?;
            collect(max_wait, answer).await
        };
        let rows = asked.await;
        self.end(rows)
    }

    /// Asks with values, and returns the first row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn exec_first<T, S, P>(&mut self, statement: S, values: P) -> Result<Option<T>>
    where
        T: FromRow + Send + 'static,
        S: StatementLike,
        P: Into<Params> + Send,
    {
        Ok(self.exec(statement, values).await?.into_iter().next())
    }

    /// Runs a statement with values.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn exec_drop<S, P>(&mut self, statement: S, values: P) -> Result<()>
    where
        S: StatementLike,
        P: Into<Params> + Send,
    {
        self.exec::<Row, S, P>(statement, values).await.map(drop)
    }

    /// Asks with values, and returns the rows as they come.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn exec_stream<S, P>(
        &mut self,
        statement: S,
        values: P,
    ) -> Result<impl Stream<Item = Result<Row>> + Send>
    where
        S: StatementLike,
        P: Into<Params> + Send,
    {
        self.begin()?;
        let Self { client, max_wait, is_asking } = self;
        let client = client.as_mut().ok_or_else(silent)?;
        let rows = within(*max_wait, client.exec_stream::<Row, _, _>(statement, values)).await;
        if matches!(rows, Err(Error::Server(_))) {
            *is_asking = false;
        }
        Ok(stream::unfold((rows?, is_asking), |(mut rows, is_asking)| async move {
            let row = within(MAX_ROW_WAIT, rows.next().map(Option::transpose)).await.transpose();
            *is_asking = matches!(row, Some(Ok(_)) | Some(Err(Error::Io(_))));
            row.map(|row| (row, (rows, is_asking)))
        }))
    }

    /// The same, for a connection that has only this one question.
    ///
    /// # Errors
    ///
    /// As [`Conn::query`].
    pub async fn into_stream<P>(
        mut self,
        query: String,
        values: P,
    ) -> Result<impl Stream<Item = Result<Row>> + Send + 'static>
    where
        P: Into<Params> + Send + 'static,
    {
        let max_wait = self.max_wait;
        let client = self.client.take().ok_or_else(silent)?;
        let rows = within(max_wait, query.with(values).stream::<Row, _>(client)).await?;
        Ok(stream::unfold(rows, |mut rows| async move {
            let row = within(MAX_ROW_WAIT, rows.next().map(Option::transpose)).await.transpose();
            row.map(|row| (row, rows))
        }))
    }

    /// If the answer before did not end, the next answer would be unclear: so that is an error.
    fn begin(&mut self) -> Result<(&mut Client, Duration)> {
        if std::mem::replace(&mut self.is_asking, true) {
            return Err(silent());
        }
        let client = self.client.as_mut().ok_or_else(silent)?;
        Ok((client, self.max_wait))
    }

    fn end<T>(&mut self, answer: Result<T>) -> Result<T> {
        self.is_asking = matches!(answer, Err(Error::Io(_)));
        answer
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.is_asking
            && let Some(client) = self.client.take()
        {
            // After one poll, the client treats the connection as closed, and waits for nothing
            // more.
            let _ = client.disconnect().now_or_never();
        }
    }
}

/// The rows of an answer's first part. Each row renews the deadline.
async fn collect<T, P>(max_wait: Duration, mut answer: QueryResult<'_, '_, P>) -> Result<Vec<T>>
where
    T: FromRow,
    P: Protocol,
{
    let mut rows = Vec::new();
    while let Some(row) = within(max_wait, answer.next()).await? {
        rows.push(from_row_opt(row).map_err(|error| DriverError::FromRow { row: error.0 })?);
    }
    within(max_wait, answer.drop_result()).await?;
    Ok(rows)
}

async fn within<T>(max_wait: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(max_wait, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let text = format!("it lets us in, and does not answer within {max_wait:?}");
            Err(IoError::Io(io::Error::new(io::ErrorKind::TimedOut, text)).into())
        }
    }
}

fn silent() -> Error {
    let text = "it lets us in, and did not answer an earlier question";
    IoError::Io(io::Error::new(io::ErrorKind::TimedOut, text)).into()
}
