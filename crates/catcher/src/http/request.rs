//! A request as it arrived.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;

use super::form;
use crate::mail::HeaderView;
use crate::moment;

/// A request that was taken.
#[derive(Clone, Debug)]
pub struct CaughtRequest {
    /// Which it was since the start; the first is 1.
    pub number: u64,
    /// Its method.
    pub method: Method,
    /// Its path with the query, as sent.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// When it was taken.
    pub at: SystemTime,
}

/// A request in the form of JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// Which it was since the start; the first is 1.
    pub number: u64,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Its method.
    pub method: String,
    /// Its path with the query, as sent.
    pub path: String,
    /// Its headers, in order.
    pub headers: Vec<HeaderView>,
    /// Its body as text.
    pub body: String,
}

impl CaughtRequest {
    /// The value of a header; `None` when there is none or it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The fields of a body in `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Vec<(String, String)> {
        form::decode(&self.body)
    }

    /// The path without the query.
    pub fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The request in the form of JSON.
    pub fn view(&self) -> RequestView {
        let headers = self.headers.iter().map(|(name, value)| HeaderView {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        });
        RequestView {
            number: self.number,
            at_ms: moment::millis(self.at),
            method: self.method.as_str().to_owned(),
            path: self.path.clone(),
            headers: headers.collect(),
            body: self.text(),
        }
    }
}
