//! The API against its own description: requests that are made after it, good, at the edge and wrong. Whatever comes back
//! has to be described.

mod document;
mod generate;

use std::time::Duration;

use fastrand::Rng;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tidings_catcher::HttpCatcher;
use tidings_core::error::ErrorCode;
use tidings_core::time::Clock;
use tidings_testkit::faults::tier;

use crate::harness::{Answer, TESTUSER, USER1, World, answer};
use document::{Body, Document, Operation, Place};
use generate::{Generator, Known};

const ERRORS: &str = include_str!("../../../../docs/reference/errors.md");
/// How many complaints are told at once.
const ENOUGH: usize = 10;

/// One request, ready to be sent.
#[derive(Debug)]
struct Case {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Vec<u8>>,
    /// The body before it was damaged; `None` when it was.
    value: Option<Value>,
    has_token: bool,
}

#[tokio::test]
async fn every_answer_is_described() {
    // Whatever a webhook names, nothing leaves this machine.
    let sink = HttpCatcher::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let outside = sink.url("");
    let world = World::start_with(&[("OUTBOUND_DIVERT_TO", outside.as_str())]).await;
    let description = answer(world.http.get(world.url("/openapi.json"))).await.text;
    let document = Document::read(&description);
    let mut known = populate(&world).await;
    let first = if tier::is_long() { fastrand::u64(..) } else { 1 };
    let mut complaints = Vec::new();
    let (mut answered, mut good) = (0, 0);
    for number in 0..tier::repeat(2_000, 50_000) {
        let seed = first.wrapping_add(u64::try_from(number).unwrap());
        let mut rng = Rng::with_seed(seed);
        let operation = &document.operations[rng.usize(..document.operations.len())];
        let case = case(&world, &document, operation, &known, &mut rng);
        let Some(answer) = send(&world, &case).await else { continue };
        answered += 1;
        good += usize::from(answer.status.is_success());
        complaints.extend(
            judge(&document, operation, &case, &answer).map(|complaint| told(seed, &case, &answer, &complaint)),
        );
        if complaints.len() >= ENOUGH {
            break;
        }
        learn(&mut known, operation, &answer);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    assert!(answered * 10 > tier::repeat(2_000, 50_000) * 9, "only {answered} requests were answered");
    assert!(
        good * 10 > answered,
        "only {good} of {answered} requests were good: nothing behind the checks was reached"
    );
    assert_eq!(answer(world.http.get(world.url("/health"))).await.status, 200, "it lives on");
    world.submit("in-app", json!({"title": "still here"})).await;
    world.stop().await;
}

#[tokio::test]
async fn methods_that_are_not_described_are_refused_with_those_that_are() {
    let world = World::start().await;
    let document = Document::read(&answer(world.http.get(world.url("/openapi.json"))).await.text);
    for operation in &document.operations {
        let path = operation.path.replace("{messageId}", USER1).replace("{userId}", USER1);
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let same_path = document.operations.iter().filter(|other| other.path == operation.path);
            let described: Vec<&str> = same_path.map(|other| other.method.as_str()).collect();
            if described.contains(&method.as_str()) {
                continue;
            }
            let answer = world.call(method.clone(), &path, &world.admin(), None).await;
            assert_eq!(answer.verdict(), (405, "method_not_allowed".to_owned()), "{method} {path}");
            let allowed = answer.header("allow").unwrap_or_default().to_owned();
            assert!(described.iter().all(|method| allowed.contains(method)), "{method} {path}: {allowed}");
        }
    }
    world.stop().await;
}

/// Things to ask for: users, notifications that wait, dead letters.
async fn populate(world: &World) -> Known {
    let mut known = Known { hook: world.web.url("/hook"), ..Known::default() };
    known.users.extend([TESTUSER.to_owned(), USER1.to_owned()]);
    let later = (world.clock.now() + Duration::from_hours(1)).to_string();
    for _ in 0..8 {
        known.dead_letters.push(world.dead_letter().await);
        known.notifications.push(world.submit_with("in-app", json!({"title": "t"}), json!({"sendAt": later})).await);
    }
    known
}

fn case(world: &World, document: &Document, operation: &Operation, known: &Known, rng: &mut Rng) -> Case {
    let mut generator = Generator { rng, components: &document.components, known };
    let (body, value) = match &operation.body {
        Some(body) => content(&mut generator, body),
        None => (None, None),
    };
    let mut headers = headers(&mut generator, operation, body.is_some());
    let has_token = operation.is_public || generator.chance(92);
    let token = if has_token { token(world, &mut generator) } else { "eyJhbGciOiJub25lIn0.e30.".to_owned() };
    if has_token || generator.chance(50) {
        headers.push((HeaderName::from_static("authorization"), format!("Bearer {token}").parse().unwrap()));
    }
    let path = path(&mut generator, operation);
    Case { method: operation.method.clone(), path, headers, body, value, has_token }
}

/// Nearly always that of an administrator: others do not get far.
fn token(world: &World, generator: &mut Generator<'_>) -> String {
    if generator.chance(90) { world.admin() } else { world.token_of(USER1, None, None) }
}

/// The bytes of a body, and the value that they are.
fn content(generator: &mut Generator<'_>, body: &Body) -> (Option<Vec<u8>>, Option<Value>) {
    if generator.chance(if body.required { 3 } else { 40 }) {
        return (None, None);
    }
    let mut value = match &body.example {
        Some(example) if generator.chance(30) => example.clone(),
        _ => generator.value("", &body.schema, 0),
    };
    for _ in 0..3 {
        if generator.chance(20) {
            generator.spoil(&mut value);
        }
    }
    let mut bytes = value.to_string().into_bytes();
    if generator.chance(6) {
        generator.damage(&mut bytes);
        return (Some(bytes), None);
    }
    (Some(bytes), Some(value))
}

fn headers(generator: &mut Generator<'_>, operation: &Operation, has_body: bool) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| {
        // What cannot stand in a header cannot be sent either.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.push((name, value));
        }
    };
    if has_body {
        let other = ["text/plain", "application/json; charset=latin1", "application/jsonp", ""];
        let kind = if generator.chance(96) { "application/json" } else { other[generator.rng.usize(..other.len())] };
        add("content-type", kind);
    }
    if generator.chance(20) {
        add("accept", "application/problem+json");
    }
    for parameter in operation.parameters.iter().filter(|parameter| parameter.place == Place::Header) {
        if parameter.required || generator.chance(10) {
            add(&parameter.name, &generator.text("", &parameter.schema));
        }
    }
    headers
}

fn path(generator: &mut Generator<'_>, operation: &Operation) -> String {
    let mut path = operation.path.clone();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for parameter in &operation.parameters {
        match parameter.place {
            Place::Path => {
                let value = in_path(generator, operation, &parameter.name);
                let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
                path = path.replace(&format!("{{{}}}", parameter.name), &encoded);
            }
            Place::Query if parameter.required || generator.chance(20) => {
                query.append_pair(&parameter.name, &in_query(generator, &parameter.name, &parameter.schema));
            }
            Place::Query | Place::Header => {}
        }
    }
    if generator.chance(3) {
        query.append_pair("colour", "red");
    }
    let query = query.finish();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

fn in_path(generator: &mut Generator<'_>, operation: &Operation, name: &str) -> String {
    if generator.chance(5) {
        // Without the segment it would be another path.
        let text = generator.text("", &Value::Null);
        return if text.is_empty() { "-".to_owned() } else { text };
    }
    match name {
        // Those who exist are needed by the requests that follow.
        "userId" if operation.method == Method::DELETE => generator.known_or(|known| &known.disposable),
        "userId" => generator.known_or(|known| &known.users),
        _ if operation.path.starts_with("/api/dead-letters/") => generator.known_or(|known| &known.dead_letters),
        _ => generator.known_or(|known| &known.notifications),
    }
}

fn in_query(generator: &mut Generator<'_>, name: &str, schema: &Value) -> String {
    match generator.value(name, schema, 0) {
        _ if generator.chance(5) => generator.text("", &Value::Null),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Sends a request. A large body may be refused while it is still being written, and then the answer may be lost.
async fn send(world: &World, case: &Case) -> Option<Answer> {
    let mut request = world.http.request(case.method.clone(), world.url(&case.path));
    for (name, value) in &case.headers {
        request = request.header(name, value);
    }
    if let Some(body) = &case.body {
        request = request.body(body.clone());
    }
    match request.send().await {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            Some(Answer { status, headers, text: response.text().await.unwrap() })
        }
        Err(error) => {
            let size = case.body.as_ref().map_or(0, Vec::len);
            assert!(size > 4_000, "no answer to {case:?}: {error:?}");
            None
        }
    }
}

/// What is wrong with an answer, if anything is.
fn judge(document: &Document, operation: &Operation, case: &Case, answer: &Answer) -> Option<String> {
    let status = answer.status.as_u16();
    if status >= 500 {
        return Some(format!("the server failed with {status}"));
    }
    if !case.has_token && status != 401 {
        return Some(format!("without a token the answer was {status}"));
    }
    if let Some(complaint) = document.complaint(operation, status, answer.header("content-type"), &answer.text) {
        return Some(complaint);
    }
    if answer.status.is_success() { wrongly_taken(document, operation, case) } else { unknown_error(answer, status) }
}

/// What the description forbids has to be refused. Items of a batch are refused one by one.
fn wrongly_taken(document: &Document, operation: &Operation, case: &Case) -> Option<String> {
    let body = operation.body.as_ref().filter(|_| !operation.path.ends_with("/batch"))?;
    if case.body.is_none() {
        return body.required.then(|| "a body is required, but none was taken for one".to_owned());
    }
    let complaint = document.complaint_about_request(body, case.value.as_ref()?)?;
    Some(format!("it was taken, although the description forbids it: {complaint}"))
}

/// Every error has a code of the catalogue, with the status that the catalogue gives it.
fn unknown_error(answer: &Answer, status: u16) -> Option<String> {
    let body = answer.json();
    if body.get("results").is_some() {
        return None;
    }
    let code = body["code"].as_str().unwrap_or_default();
    let entry = ErrorCode::ALL.iter().find(|entry| entry.code == code);
    match entry {
        Some(entry) if entry.status != status => Some(format!("{code} goes with {}, not with {status}", entry.status)),
        Some(_) if ERRORS.contains(&format!("\n## {code}\n")) => None,
        _ => Some(format!("the code {code:?} is in no catalogue")),
    }
}

/// Keeps what was made and may be asked for later.
fn learn(known: &mut Known, operation: &Operation, answer: &Answer) {
    if !answer.status.is_success() || operation.path == "/metrics" || answer.text.is_empty() {
        return;
    }
    let body = answer.json();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    match operation.path.as_str() {
        "/api/notifications" => known.notifications.extend(text("messageId")),
        "/api/users" => known.disposable.extend(text("id")),
        _ => {}
    }
    known.cursors.extend(text("nextCursor"));
    for list in [&mut known.notifications, &mut known.disposable, &mut known.cursors] {
        if list.len() > 100 {
            list.remove(0);
        }
    }
}

/// A complaint with all that is needed to repeat the request.
fn told(seed: u64, case: &Case, answer: &Answer, complaint: &str) -> String {
    let body = case.body.as_deref().map(|body| body.escape_ascii().to_string()).unwrap_or_default();
    let short = |text: &str| text.chars().take(1_500).collect::<String>();
    format!(
        "{complaint}\n  seed {seed}: {} {}\n  headers {:?}\n  body {}\n  answered {} {}",
        case.method,
        case.path,
        case.headers.iter().filter(|(name, _)| name != "authorization").collect::<Vec<_>>(),
        short(&body),
        answer.status,
        short(&answer.text)
    )
}
