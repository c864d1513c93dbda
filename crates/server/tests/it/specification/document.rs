//! The description of the API, taken apart: its operations, and judges of what it says about bodies.

use std::collections::BTreeMap;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use reqwest::Method;
use serde_json::{Value, json};

const BASE: &str = "http://specification.invalid/bodies.json";

/// All that is described.
pub(crate) struct Document {
    pub(crate) components: Value,
    pub(crate) operations: Vec<Operation>,
    answers: Judge,
    requests: Judge,
}

/// One thing that can be asked for.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Whether it needs no token.
    pub(crate) is_public: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    /// By status, then by content type; an answer without a described body has no content types.
    answers: BTreeMap<u16, BTreeMap<String, usize>>,
}

/// What goes into the path, the query or the headers.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) required: bool,
    pub(crate) schema: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

/// What is sent as JSON.
pub(crate) struct Body {
    pub(crate) schema: Value,
    pub(crate) required: bool,
    pub(crate) example: Option<Value>,
    judge: usize,
}

/// Schemas ready to judge values, by number.
struct Judge {
    schemas: Schemas,
    indices: Vec<SchemaIndex>,
}

impl Judge {
    /// `formats` says whether `"format": "uuid"` and the like are asserted, or only remarks.
    fn new(components: &Value, list: &[Value], formats: bool) -> Self {
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        if formats {
            compiler.enable_format_assertions();
        }
        compiler.add_resource(BASE, json!({"components": components, "list": list})).unwrap();
        let mut schemas = Schemas::new();
        let mut indices = Vec::new();
        for (number, schema) in list.iter().enumerate() {
            let compiled = compiler.compile(&format!("{BASE}#/list/{number}"), &mut schemas);
            indices.push(compiled.unwrap_or_else(|error| panic!("{schema:#} is no schema: {error:#}")));
        }
        Self { schemas, indices }
    }

    fn complaint(&self, number: usize, value: &Value) -> Option<String> {
        let verdict = self.schemas.validate(value, self.indices[number]);
        verdict.err().map(|error| error.to_string())
    }
}

impl Document {
    /// Takes a description apart. Panics where it is not what it should be.
    pub(crate) fn read(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let components = document["components"].clone();
        let (mut answers, mut requests, mut operations) = (Vec::new(), Vec::new(), Vec::new());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, description) in item.as_object().unwrap() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                operations.push(Operation {
                    is_public: description["security"] == json!([{}]),
                    parameters: parameters(description),
                    body: body(description, &mut requests),
                    answers: documented(description, &mut answers),
                    path: path.clone(),
                    method,
                });
            }
        }
        let (answers, requests) = (Judge::new(&components, &answers, true), Judge::new(&components, &requests, false));
        Self { components, operations, answers, requests }
    }

    /// What is wrong with an answer, if the description does not allow it.
    pub(crate) fn complaint(
        &self,
        operation: &Operation,
        status: u16,
        kind: Option<&str>,
        text: &str,
    ) -> Option<String> {
        let Some(kinds) = operation.answers.get(&status) else {
            let known: Vec<&u16> = operation.answers.keys().collect();
            return Some(format!("the status {status} is not described; these are: {known:?}"));
        };
        if kinds.is_empty() {
            return None;
        }
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let Some(number) = kinds.get(kind) else {
            let known: Vec<&String> = kinds.keys().collect();
            return Some(format!("the content type {kind:?} is not described; these are: {known:?}"));
        };
        let value = if kind.ends_with("json") {
            match serde_json::from_str(text) {
                Ok(value) => value,
                Err(error) => return Some(format!("the body is no JSON: {error}")),
            }
        } else {
            Value::String(text.to_owned())
        };
        self.answers.complaint(*number, &value)
    }

    /// What is wrong with the body of a request, formats aside.
    pub(crate) fn complaint_about_request(&self, body: &Body, value: &Value) -> Option<String> {
        self.requests.complaint(body.judge, value)
    }
}

fn parameters(description: &Value) -> Vec<Parameter> {
    let listed = description["parameters"].as_array().cloned().unwrap_or_default();
    let read = |parameter: &Value| Parameter {
        name: parameter["name"].as_str().unwrap().to_owned(),
        place: match parameter["in"].as_str().unwrap() {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            other => panic!("a parameter in {other}"),
        },
        required: parameter["required"] == json!(true),
        schema: parameter["schema"].clone(),
    };
    listed.iter().map(read).collect()
}

fn body(description: &Value, requests: &mut Vec<Value>) -> Option<Body> {
    let body = description.get("requestBody")?;
    let content = &body["content"]["application/json"];
    requests.push(content["schema"].clone());
    Some(Body {
        schema: content["schema"].clone(),
        required: body["required"] == json!(true),
        example: content.get("example").cloned(),
        judge: requests.len() - 1,
    })
}

fn documented(description: &Value, answers: &mut Vec<Value>) -> BTreeMap<u16, BTreeMap<String, usize>> {
    let mut by_status = BTreeMap::new();
    for (status, answer) in description["responses"].as_object().unwrap() {
        let mut by_kind = BTreeMap::new();
        for (kind, content) in answer.get("content").and_then(Value::as_object).into_iter().flatten() {
            answers.push(content["schema"].clone());
            by_kind.insert(kind.clone(), answers.len() - 1);
        }
        by_status.insert(status.parse().unwrap(), by_kind);
    }
    by_status
}
