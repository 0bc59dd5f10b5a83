//! Answers as text, in whatever types the server has them.

use tokio_postgres::{Client, GenericClient, SimpleQueryMessage, Statement};

use super::autocommit::Session;
use super::run::{Params, Rows};
use super::statement::sealed::Source;
use crate::error::Error;
use crate::guard::Observation;

/// The answer of a statement, as the server writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextAnswer {
    /// The names of the columns; none where the statement gives no rows.
    pub columns: Vec<String>,
    /// The rows; a NULL is none.
    pub rows: Vec<Vec<Option<String>>>,
    /// The number of rows that the server reports for the statement.
    pub count: u64,
    /// What it changed, where it was observed.
    pub observation: Option<Observation>,
}

impl Rows for TextAnswer {
    const OPERATION: &'static str = "query_text";
    const WORDS: &'static str = "run a statement";

    fn rows(&self) -> u64 {
        self.count
    }

    /// The text was prepared before: that it is one statement is certain, so the simple protocol can be used.
    async fn send<C: GenericClient + Sync>(
        client: &C,
        _: &Statement,
        sql: &str,
        _: Params<'_>,
    ) -> Result<Self, tokio_postgres::Error> {
        let mut answer = Self::default();
        for message in client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    answer
                        .rows
                        .push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(count) => answer.count = count,
                _ => {}
            }
        }
        Ok(answer)
    }
}

impl Session {
    pub(super) async fn run_text(&self, client: &Client, sql: &str) -> Result<TextAnswer, Error> {
        let (answer, observation) = self.run_observed::<TextAnswer>(client, Source::Text(sql), &[]).await?;
        Ok(TextAnswer { observation, ..answer })
    }
}
