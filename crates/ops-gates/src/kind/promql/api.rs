//! The HTTP API of Prometheus: instant queries, all at the same time, and ranges.

use super::super::web;
use crate::gate::Context;
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// An answer of a gate has few series; who asks for all of them has made a mistake.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// A server, asked as of one time.
pub(in crate::kind) struct Server<'a> {
    client: Client,
    address: Url,
    shown: &'a Text,
    headers: HeaderMap,
    time: Timestamp,
}

/// One series of an answer.
#[derive(Debug, PartialEq)]
pub(in crate::kind) struct Series {
    pub(in crate::kind) labels: BTreeMap<String, String>,
    pub(in crate::kind) value: f64,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

#[derive(Deserialize)]
struct Matrix {
    #[serde(default)]
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Vector {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl<'a> Server<'a> {
    pub(in crate::kind) fn new(
        context: &Context<'_>,
        url: &'a Text,
        headers: &BTreeMap<String, Text>,
        ca_file: Option<&Text>,
    ) -> Result<Self, Finding> {
        let client = web::build(web::builder(context, 0, ca_file)?)?;
        let mut address = web::url(context, url)?;
        address.set_path(&format!("{}/api/v1/", address.path().trim_end_matches('/')));
        Ok(Self {
            client,
            address,
            shown: url,
            headers: web::headers(context, headers)?,
            time: context.now(),
        })
    }

    /// The time at which all queries are evaluated.
    pub(in crate::kind) fn time(&self) -> Timestamp {
        self.time
    }

    /// Asks now.
    pub(in crate::kind) async fn query(&self, query: &str) -> Result<Vec<Series>, Finding> {
        self.query_at(query, self.time).await
    }

    /// Asks as of another time.
    pub(in crate::kind) async fn query_at(
        &self,
        query: &str,
        time: Timestamp,
    ) -> Result<Vec<Series>, Finding> {
        let time = seconds(time);
        let body = self.ask("query", &[("query", query), ("time", &time)]).await?;
        read(&body).map_err(|unread| self.unread(unread))
    }

    /// Asks for the values of one series over a time, at each step of it; none where it has no series. Several are an error.
    pub(in crate::kind) async fn range(
        &self,
        query: &str,
        (start, end): (Timestamp, Timestamp),
        step: Duration,
    ) -> Result<Vec<(f64, f64)>, Finding> {
        let (start, end, step) = (seconds(start), seconds(end), step.as_secs_f64().to_string());
        let asked = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let body = self.ask("query_range", &asked).await?;
        read_range(&body).map_err(|unread| self.unread(unread))
    }

    fn unread(&self, (fault, code, why): Unread) -> Finding {
        Finding::error(fault, code, format!("{} answered: {why}", self.shown))
    }

    async fn ask(&self, what: &str, pairs: &[(&str, &str)]) -> Result<Vec<u8>, Finding> {
        let mut address = self.address.clone();
        address.set_path(&format!("{}{what}", address.path()));
        address.query_pairs_mut().extend_pairs(pairs);
        let sent = self.client.get(address).headers(self.headers.clone()).send().await;
        let response = sent.map_err(|error| web::transport(self.shown, error))?;
        let status = response.status().as_u16();
        if status == 503 {
            let reason = format!("{} is not ready", self.shown);
            return Err(Finding::error(Fault::NotReady, "not-ready", reason));
        }
        let body = web::body(self.shown, response, BODY_LIMIT).await?;
        body.ok_or_else(|| Finding::error(Fault::Parse, "too-long", "the answer is longer than 16 MiB"))
    }
}

/// A time as the API reads it.
fn seconds(time: Timestamp) -> String {
    format!("{}.{:03}", time.as_second(), time.subsec_millisecond())
}

impl Series {
    /// The labels, or that there are none.
    pub(in crate::kind) fn shown(&self) -> String {
        if self.labels.is_empty() {
            return "the answer".to_owned();
        }
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let shown = format!("{{{}}}", labels.join(", "));
        if shown.len() > 300 { format!("{} …", shown.chars().take(300).collect::<String>()) } else { shown }
    }
}

type Unread = (Fault, &'static str, String);

/// The data of an answer that is whole.
fn data(body: &[u8]) -> Result<Data, Unread> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| parse(format!("no answer of Prometheus: {error}")))?;
    if answer.status != "success" {
        let kind = answer.error_type.unwrap_or_default();
        let error = answer.error.unwrap_or_default();
        let fault = if kind == "bad_data" { Fault::Unresolved } else { Fault::Tool };
        return Err((fault, "query", format!("{kind}: {error}")));
    }
    if let Some(warning) = answer.warnings.first() {
        return Err((Fault::NoData, "warnings", format!("the answer may not be whole: {warning}")));
    }
    answer.data.ok_or_else(|| parse("there is no data".to_owned()))
}

fn parse(why: String) -> Unread {
    (Fault::Parse, "answer", why)
}

/// The values of the only series of a range.
fn read_range(body: &[u8]) -> Result<Vec<(f64, f64)>, Unread> {
    let data = data(body)?;
    if data.kind != "matrix" {
        return Err(parse(format!("a range gives a {}, not a matrix", data.kind)));
    }
    let mut matrix: Vec<Matrix> =
        serde_json::from_value(data.result).map_err(|error| parse(error.to_string()))?;
    if matrix.len() > 1 {
        let why = format!("the query gives {} series, expected one; use `sum(…)`", matrix.len());
        return Err((Fault::Parse, "series", why));
    }
    let values = matrix.pop().map(|series| series.values).unwrap_or_default();
    values
        .into_iter()
        .map(|(time, value)| {
            Ok((time, number(&value).ok_or_else(|| parse(format!("{value:?} is no number")))?))
        })
        .collect()
}

fn read(body: &[u8]) -> Result<Vec<Series>, Unread> {
    let data = data(body)?;
    let wrong = |error: serde_json::Error| parse(error.to_string());
    let series = match data.kind.as_str() {
        "vector" => {
            let vector: Vec<Vector> = serde_json::from_value(data.result).map_err(wrong)?;
            vector.into_iter().map(|series| (series.metric, series.value.1)).collect()
        }
        "scalar" => {
            let (_, value): (f64, String) = serde_json::from_value(data.result).map_err(wrong)?;
            vec![(BTreeMap::new(), value)]
        }
        other => {
            return Err((
                Fault::Unresolved,
                "query",
                format!("the query gives a {other}, not one value a series"),
            ));
        }
    };
    series
        .into_iter()
        .map(|(labels, value)| {
            Ok(Series {
                labels,
                value: number(&value).ok_or_else(|| parse(format!("{value:?} is no number")))?,
            })
        })
        .collect()
}

/// A number as Prometheus writes it.
fn number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_read() {
        let ok = |data: &str| format!(r#"{{"status":"success","data":{data}}}"#);
        for (body, expected) in [
            (
                ok(r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"2"]}]}"#),
                Ok(Some(2.0)),
            ),
            (ok(r#"{"resultType":"scalar","result":[1,"+Inf"]}"#), Ok(Some(f64::INFINITY))),
            (ok(r#"{"resultType":"vector","result":[]}"#), Ok(None)),
            (ok(r#"{"resultType":"matrix","result":[]}"#), Err("query")),
            (ok(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}"#), Err("answer")),
            (
                r#"{"status":"success","warnings":["partial"],"data":{"resultType":"vector","result":[]}}"#
                    .to_owned(),
                Err("warnings"),
            ),
            (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(), Err("query")),
            (r#"{"status":"success"}"#.to_owned(), Err("answer")),
            ("<html>".to_owned(), Err("answer")),
        ] {
            let got = read(body.as_bytes()).map(|series| series.first().map(|series| series.value));
            assert_eq!(got.map_err(|(_, code, _)| code), expected, "{body}");
        }
    }
}
