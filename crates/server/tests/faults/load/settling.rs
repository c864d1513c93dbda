//! Waiting for the end of everything, and the comparison.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidings_testkit::faults::ledger::{Ledger, Totals};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::program::{Program, USER, admin_token, http};

/// How many look-ups are under way at once.
const SIDE_BY_SIDE: usize = 16;
/// The pause before what has not ended is looked at again.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest page.
const PAGE: usize = 200;

/// Waits until everything that anybody knows of has ended: what was acknowledged, what providers were called for, and
/// what the store has besides. Notes it in the ledger, checks that the inbox of [`USER`] has every delivered in-app
/// notification once under numbers without gap or repeat, and gives the totals. What has not ended in time is among
/// them, as having no end.
pub(crate) async fn settle(program: &Program, ledger: &Ledger, within: Duration) -> Totals {
    let reader = Arc::new(Reader {
        http: http(),
        url: program.url().to_owned(),
        token: admin_token(),
        deadline: Instant::now() + within,
    });
    let mut ids: BTreeSet<String> = ledger.acknowledged().into_iter().collect();
    ids.extend(ledger.called().into_iter().filter(|id| id.parse::<Uuid>().is_ok()));
    ids.extend(reader.list().await);

    let mut appended = BTreeSet::new();
    let mut waiting: Vec<String> = ids.into_iter().collect();
    while !waiting.is_empty() {
        let looked_at = look_at_all(&reader, ledger, waiting).await;
        appended.extend(looked_at.appended);
        waiting = looked_at.pending;
        if Instant::now() >= reader.deadline {
            break;
        }
        if !waiting.is_empty() {
            sleep(PAUSE).await;
        }
    }
    // What has not ended may be appended at any moment; then the totals are bad enough.
    if waiting.is_empty() {
        reader.check_inbox(&appended).await;
    }
    ledger.check()
}

/// Reads the interface of a program.
struct Reader {
    http: reqwest::Client,
    url: String,
    token: String,
    deadline: Instant,
}

/// What a round found.
#[derive(Default)]
struct LookedAt {
    /// What has not ended.
    pending: Vec<String>,
    /// What has to be in the inbox.
    appended: Vec<String>,
}

async fn look_at_all(reader: &Arc<Reader>, ledger: &Ledger, ids: Vec<String>) -> LookedAt {
    let mut looking = JoinSet::new();
    for share in ids.chunks(ids.len().div_ceil(SIDE_BY_SIDE)) {
        looking.spawn(look_at(Arc::clone(reader), ledger.clone(), share.to_vec()));
    }
    let mut all = LookedAt::default();
    while let Some(part) = looking.join_next().await {
        let part = part.expect("looking does not panic");
        all.pending.extend(part.pending);
        all.appended.extend(part.appended);
    }
    all
}

async fn look_at(reader: Arc<Reader>, ledger: Ledger, ids: Vec<String>) -> LookedAt {
    let mut found = LookedAt::default();
    for id in ids {
        let record = reader.get(&format!("/api/notifications/{id}")).await;
        ledger.ended(&id, record.as_ref());
        let Some(record) = record else { continue };
        if record["status"] == "pending" {
            found.pending.push(id);
        } else if record["type"] == "in-app" && record["targetUserId"] == USER && record["status"] == "processed" {
            found.appended.push(id);
        }
    }
    found
}

impl Reader {
    /// A resource; `None` is a 404. What fails is asked for again until the deadline.
    async fn get(&self, path: &str) -> Option<Value> {
        loop {
            let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
            let complaint = match request.send().await {
                Ok(answer) if answer.status() == 404 => return None,
                Ok(answer) if answer.status() == 200 => match answer.json().await {
                    Ok(body) => return Some(body),
                    Err(error) => error.to_string(),
                },
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < self.deadline, "{path} cannot be read: {complaint}");
            sleep(PAUSE).await;
        }
    }

    /// The ids of everything that the store has.
    async fn list(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/api/notifications?limit={PAGE}{cursor}")).await.expect("a list");
            let items = page["items"].as_array().expect("items");
            ids.extend(items.iter().map(|item| item["messageId"].as_str().expect("an id").to_owned()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    }

    async fn check_inbox(&self, expected: &BTreeSet<String>) {
        let (mut numbers, mut ids): (Vec<u64>, Vec<String>) = (Vec::new(), Vec::new());
        loop {
            let after = numbers.last().copied().unwrap_or(0);
            let path = format!("/api/users/{USER}/inbox?after={after}&limit={PAGE}");
            let Some(page) = self.get(&path).await else { break };
            let items = page["items"].as_array().expect("items");
            numbers.extend(items.iter().map(|item| item["number"].as_u64().expect("a number")));
            ids.extend(items.iter().map(|item| item["messageId"].as_str().expect("an id").to_owned()));
            if items.is_empty() {
                break;
            }
        }
        let irregular = numbers.iter().zip(1_u64..).find(|(number, wanted)| *number != wanted);
        assert_eq!(irregular, None, "the numbers of the inbox have a gap or a repeat");
        let kept: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(kept.len(), ids.len(), "the inbox has a notification twice");
        let missing: Vec<&String> = expected.difference(&kept).collect();
        assert!(missing.is_empty(), "delivered and not in the inbox: {missing:?}");
        let extra: Vec<&String> = kept.difference(expected).collect();
        assert!(extra.is_empty(), "in the inbox and not delivered: {extra:?}");
    }
}
