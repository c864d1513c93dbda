//! A day of work in less than a minute: providers that fail, a store that is held up, restarts, people who read, review
//! and leave. Nothing is lost, and nothing piles up: not memory, not files, not threads, not the log of the database, not
//! the rows of any table.

mod gauges;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tidings_catcher::{HttpAnswer, SmtpAnswer, SmtpStage};
use tidings_core::time::{Clock, Timestamp};

use crate::harness::{TESTUSER, USER1, World, events};
use gauges::{Gauges, Reading};

/// How far the clock is moved at once.
const STEP: Duration = Duration::from_mins(5);
const STEPS_PER_HOUR: u64 = 12;
const HOURS: u64 = 24;

/// How many notifications each step sends.
const BATCH: usize = 20;

/// When the product is stopped and started again, in hours.
const RESTART_EVERY: u64 = 6;

/// When it is looked whether a notification has ended, and when it has to have. It is deleted two hours after its end.
const LOOK_AFTER: Duration = Duration::from_hours(1);
const LATEST_END: Duration = Duration::from_mins(110);

/// The entries of a journal that are ends.
const ENDS: [&str; 4] = ["delivered", "dead", "expired", "cancelled"];

/// How long a step waits for the work that it caused. What waits at a breaker is not waited for.
const PATIENCE: Duration = Duration::from_millis(600);

/// How many further steps the last notifications get.
const LAST_STEPS: usize = 30;

const SETTINGS: [(&str, &str); 6] = [
    ("RETENTION_DELIVERED", "2h"),
    ("RETENTION_READ", "90m"),
    ("RETENTION_UNDELIVERED", "3h"),
    ("IDEMPOTENCY_TTL", "1h"),
    ("ATTEMPT_TIMEOUT", "2s"),
    ("AUTO_REDRIVE", "true"),
];

#[tokio::test]
async fn a_day_of_work_leaves_nothing_behind() {
    let mut soak = Soak::start(24).await;
    for hour in 1..=HOURS {
        for step in 0..STEPS_PER_HOUR {
            soak.step(hour * STEPS_PER_HOUR + step).await;
        }
        soak.hourly_chores(hour).await;
        if hour % RESTART_EVERY == 0 {
            soak = soak.restart().await;
        }
    }
    soak.finish().await;
}

struct Soak {
    world: World,
    random: fastrand::Rng,
    /// What was acknowledged and has not been seen to end, the oldest first.
    pending: VecDeque<(Timestamp, String)>,
    ended: usize,
    /// How many entries the inbox of the second user, who reads nothing, has to have had.
    inbox: u64,
    /// A request with a key, and what it was answered.
    keyed: Option<(Value, String)>,
    /// Somebody who stays for an hour.
    guest: String,
    gauges: Gauges,
}

impl Soak {
    async fn start(seed: u64) -> Self {
        println!("the seed is {seed}");
        let world = World::start_with(&SETTINGS).await;
        let guest = create_guest(&world, 0).await;
        Self {
            world,
            random: fastrand::Rng::with_seed(seed),
            pending: VecDeque::new(),
            ended: 0,
            inbox: 0,
            keyed: None,
            guest,
            gauges: Gauges::default(),
        }
    }

    async fn step(&mut self, number: u64) {
        self.upset_providers();
        if self.random.u32(0..25) == 0 {
            let data = self.world.data();
            tokio::join!(hold_store(&data), self.send_batch());
        } else {
            self.send_batch().await;
        }
        self.send_keyed(number).await;
        self.let_time_pass().await;
        self.look_at_those_after(LOOK_AFTER).await;
    }

    async fn let_time_pass(&self) {
        self.world.advance(STEP);
        let idle = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            // The first tick is at once, before anything can have been claimed.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                if self.world.is_idle().await {
                    return;
                }
            }
        };
        // What is still waiting is looked at after a later step.
        drop(tokio::time::timeout(PATIENCE, idle).await);
        self.world.web.clear();
        self.world.mail.clear();
    }

    fn upset_providers(&mut self) {
        for _ in 0..self.random.usize(0..4) {
            self.world.web.script([match self.random.u32(0..5) {
                0 => HttpAnswer::status(503).with_header("retry-after", "30"),
                1 => HttpAnswer::status(500),
                2 => HttpAnswer::CloseAfterBody,
                3 => HttpAnswer::CloseBeforeReading,
                _ => HttpAnswer::status(200).delayed(Duration::from_millis(100)),
            }]);
        }
        for _ in 0..self.random.usize(0..2) {
            self.world.mail.script([match self.random.u32(0..3) {
                0 => SmtpAnswer::refuse(SmtpStage::Rcpt, 451, "try later"),
                1 => SmtpAnswer::refuse(SmtpStage::Rcpt, 550, "no such user"),
                _ => SmtpAnswer::CloseMidway,
            }]);
        }
    }

    async fn send_batch(&mut self) {
        let items: Vec<Value> = (0..BATCH).map(|_| self.item()).collect();
        let is_counted = |item: &&Value| item["type"] == "in-app" && item["targetUserId"] == USER1;
        self.inbox += u64::try_from(items.iter().filter(is_counted).count()).unwrap();
        let body = json!({"notifications": items});
        let answer = self.world.post("/api/notifications/batch", &self.world.admin(), &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        for result in answer.json()["results"].as_array().unwrap() {
            assert_eq!(result["status"], "queued", "{result}");
            self.remember(&result["messageId"]);
        }
    }

    fn item(&mut self) -> Value {
        let user = match self.random.u32(0..4) {
            0 => self.guest.as_str(),
            1 => USER1,
            _ => TESTUSER,
        };
        let hook = |path: &str| json!({"url": self.world.web.url(path), "note": "n".repeat(200)});
        let (channel, payload) = match self.random.u32(0..20) {
            0..8 => ("in-app", json!({"title": "t", "message": "x".repeat(300)})),
            8..14 => ("webhook", hook("/hook")),
            14 => ("webhook", hook("/status/400")),
            15..17 => ("sms", json!({"phoneNumber": "+12345678901", "message": "m"})),
            _ => ("email", json!({"to": "ada@example.com", "subject": "s", "body": "b"})),
        };
        json!({"targetUserId": user, "type": channel, "payload": payload})
    }

    /// Sends something under a key, and what was sent in the step before once more.
    async fn send_keyed(&mut self, number: u64) {
        let key = format!("step-{number}");
        let body =
            json!({"targetUserId": TESTUSER, "type": "in-app", "payload": {"title": key}, "idempotencyKey": key});
        let id = self.post(&body).await;
        self.remember(&json!(id));
        if let Some((body, before)) = self.keyed.replace((body, id)) {
            assert_eq!(self.post(&body).await, before, "one key is one notification");
        }
    }

    async fn post(&self, body: &Value) -> String {
        let answer = self.world.post("/api/notifications", &self.world.admin(), body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["messageId"].as_str().unwrap().to_owned()
    }

    fn remember(&mut self, id: &Value) {
        let accepted = self.world.clock.now();
        self.pending.push_back((accepted, id.as_str().unwrap().to_owned()));
    }

    /// Those that were accepted so long ago are there, and have ended once.
    async fn look_at_those_after(&mut self, age: Duration) {
        let now = self.world.clock.now();
        let mut later = VecDeque::new();
        while self.pending.front().is_some_and(|(accepted, _)| now.since(*accepted) >= age) {
            let Some((accepted, id)) = self.pending.pop_front() else {
                break;
            };
            let record = self.world.show(&id).await;
            if record["status"] == "pending" {
                assert!(now.since(accepted) < LATEST_END, "{id} does not end: {record:#}");
                later.push_back((accepted, id));
            } else {
                assert_eq!(events(&record).iter().filter(|event| ENDS.contains(*event)).count(), 1, "{record:#}");
                self.ended += 1;
            }
        }
        later.append(&mut self.pending);
        self.pending = later;
    }

    async fn hourly_chores(&mut self, hour: u64) {
        self.read_inbox().await;
        self.review_dead_letters().await;
        let path = format!("/api/users/{}", self.guest);
        let gone = self.world.call(Method::DELETE, &path, &self.world.admin(), None).await;
        assert_eq!(gone.status, 204, "{}", gone.text);
        self.guest = create_guest(&self.world, hour).await;
        let reading = Reading::take(&self.world.data());
        println!("hour {hour}: {reading:?}");
        self.gauges.note(hour, reading);
    }

    async fn read_inbox(&self) {
        let path = format!("/api/users/{TESTUSER}/inbox");
        let inbox = self.world.get(&format!("{path}?limit=1"), &self.world.token()).await.json();
        let body = json!({"receipt": "read", "upTo": inbox["last"]});
        let read = self.world.post(&format!("{path}/receipts"), &self.world.token(), &body).await;
        assert_eq!(read.status, 200, "{}", read.text);
    }

    /// Half of them are sent anew, half put aside. Meanwhile one may have been redriven by itself, or been kept long enough.
    async fn review_dead_letters(&mut self) {
        let admin = self.world.admin();
        let page = self.world.get("/api/dead-letters?reviewStatus=pending&limit=100", &admin).await.json();
        for (place, letter) in page["items"].as_array().unwrap().iter().enumerate() {
            let id = letter["messageId"].as_str().unwrap();
            let what = if place.is_multiple_of(2) { "redrive" } else { "discard" };
            let answer = self.world.post(&format!("/api/dead-letters/{id}/{what}"), &admin, &json!({})).await;
            assert!([200, 404, 409].contains(&answer.status.as_u16()), "{}", answer.text);
            let new = &answer.json()["redrivenAs"];
            if new.is_string() {
                self.remember(new);
            }
        }
    }

    async fn restart(self) -> Self {
        let world = self.world.restart().await;
        Self { world, ..self }
    }

    async fn finish(mut self) {
        for _ in 0..LAST_STEPS {
            if self.pending.is_empty() {
                break;
            }
            self.let_time_pass().await;
            self.look_at_those_after(Duration::ZERO).await;
        }
        assert!(self.pending.is_empty(), "{:?} have not ended", self.pending);
        let inbox = self.world.get(&format!("/api/users/{USER1}/inbox?limit=1"), &self.world.admin()).await.json();
        assert_eq!(inbox["last"], self.inbox, "each in-app notification has its number");
        println!("{} notifications ended once, {} of them in an inbox that nobody read", self.ended, self.inbox);
        self.gauges.assert_flat();
        self.world.stop().await;
    }
}

async fn create_guest(world: &World, hour: u64) -> String {
    let body = json!({"username": format!("guest-{hour}"), "email": format!("guest-{hour}@example.com")});
    let created = world.post("/api/users", &world.admin(), &body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    created.json()["id"].as_str().unwrap().to_owned()
}

/// Somebody else writes to the database for a moment, and nobody can besides.
async fn hold_store(data: &Path) {
    let connection = Connection::open(data.join("tidings.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    connection.execute_batch("ROLLBACK").unwrap();
}
