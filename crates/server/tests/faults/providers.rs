//! Providers that are slow, endless, closed for good, or cut the connection: F24, F25, F27, F28, and mail servers.

use std::iter::repeat_n;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::catcher::{HttpAnswer, HttpCatcher, SmtpAnswer, SmtpCatcher, SmtpStage};
use tidings_testkit::faults::tier::repeat;
use tidings_testkit::faults::verdict::Verdict;

use crate::raw::gzip_bomb;
use crate::verbs::{Lags, MIB, PATIENCE, Stage, calls, catcher, watched};

fn hook(receiver: &HttpCatcher) -> Value {
    json!({"url": receiver.url("/hook")})
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_receivers_delay_nobody_else() {
    let stage = Stage::set(&[("ATTEMPT_TIMEOUT", "7s"), ("RETRY_SCHEDULE", "500ms")]).await;
    let door = &stage.door;
    let healthy = [catcher().await, catcher().await];
    let urls: Vec<String> = healthy.iter().map(|receiver| receiver.url("/hook")).collect();
    let every = Duration::from_millis(20);
    let each = repeat(100, 450);
    let mut measured = Vec::new();
    let (slow, silent) = (catcher().await, catcher().await);
    for is_calm in [true, false] {
        if !is_calm {
            // Few enough that no breaker opens: the bulkheads alone have to keep the others free.
            slow.script(repeat_n(HttpAnswer::status(200).delayed(Duration::from_secs(5)), 8));
            silent.script(repeat_n(HttpAnswer::Hang, 5));
            door.submit_many(&slow.url("/hook"), 8).await;
            door.submit_many(&silent.url("/hook"), 8).await;
            slow.wait_for(1, PATIENCE).await.unwrap();
            silent.wait_for(1, PATIENCE).await.unwrap();
        }
        door.pace(&urls, 2 * each, every).await;
        let mut caught = Vec::new();
        for receiver in &healthy {
            caught.extend(receiver.wait_for(each, PATIENCE).await.unwrap());
            receiver.clear();
        }
        door.heard(&caught);
        measured.push(Lags::of(&caught));
    }
    let (calm, beside) = (&measured[0], &measured[1]);
    door.settle(Duration::from_mins(1)).await.assert_clean();
    door.heard(&slow.requests());
    door.heard(&silent.requests());
    let totals = door.ledger.check();
    Verdict::of("F24", "receivers that take 5 s, and that never answer", "8 notifications to each, beside 2 healthy")
        .totals(&totals)
        .measured("p50 of the others, calm", format!("{:?}", calm.p50()))
        .measured("p50 of the others, beside", format!("{:?}", beside.p50()))
        .measured("p99 of the others, calm", format!("{:?}", calm.p99()))
        .measured("p99 of the others, beside", format!("{:?}", beside.p99()))
        .publish();
    totals.assert_clean();
    assert!(beside.p50() <= calm.p50() * 2 + Duration::from_millis(100), "{:?} {:?}", beside.p50(), calm.p50());
    assert!(beside.p99() <= calm.p99() * 2 + Duration::from_millis(500), "{:?} {:?}", beside.p99(), calm.p99());
}

/// An answer that no client should take in whole, and what comes of it.
struct Flood {
    what: &'static str,
    answer: HttpAnswer,
    /// Whether the status of it can be read.
    is_understood: bool,
}

impl Flood {
    /// The notification was delivered, at once if the status could be read.
    fn assert_survived(&self, record: &Value) {
        let what = self.what;
        assert_eq!(record["status"], "processed", "{what}: {record:#}");
        let attempts = record["attempts"].as_array().unwrap();
        let first = if self.is_understood { "delivered" } else { "unknown" };
        assert_eq!(attempts[0]["outcome"], first, "{what}: {record:#}");
        assert_eq!(attempts.len() == 1, self.is_understood, "{what}: {record:#}");
    }
}

fn floods() -> Vec<Flood> {
    let plain = HttpAnswer::status(200);
    let mut headers = plain.clone();
    for number in 0..50_000 {
        headers = headers.with_header(format!("x-{number}"), "v");
    }
    let bomb = plain.clone().with_header("content-encoding", "gzip").with_body(gzip_bomb(64 * MIB));
    let floods = [
        ("a drip", HttpAnswer::Drip { bytes_per_tick: 1 }, true),
        ("50 MB", HttpAnswer::Huge { bytes: 50_000_000 }, true),
        ("10 GiB", HttpAnswer::Huge { bytes: 10 << 30 }, true),
        ("10 GiB announced", plain.with_header("content-length", "10737418240"), true),
        ("a gzip bomb", bomb, true),
        ("50,000 headers", headers, false),
    ];
    floods.map(|(what, answer, is_understood)| Flood { what, answer, is_understood }).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_are_cut_and_cost_no_memory() {
    const EACH: usize = 3;
    let settings = [("ATTEMPT_TIMEOUT", "12s"), ("RETRY_SCHEDULE", "1s"), ("WORKER_CONCURRENCY", "40")];
    let stage = Stage::set(&settings).await;
    let (program, door) = (&stage.program, &stage.door);
    let usual = catcher().await;
    door.submit_many(&usual.url("/hook"), 200).await;
    usual.wait_for(200, PATIENCE).await.unwrap();
    door.heard(&usual.requests());

    let before = program.rss_bytes();
    let mut receivers = Vec::new();
    let ((), most) = watched(program, async {
        let mut sent = Vec::new();
        for flood in floods() {
            let receiver = catcher().await;
            receiver.script(repeat_n(flood.answer.clone(), EACH));
            sent.push((flood, door.submit_many(&receiver.url("/hook"), EACH).await));
            receivers.push(receiver);
        }
        for (flood, ids) in sent {
            for id in ids {
                flood.assert_survived(&door.ended(&id).await);
            }
        }
    })
    .await;
    for receiver in &receivers {
        door.heard(&receiver.requests());
    }
    let totals = door.settle(PATIENCE).await;
    let grown = most.saturating_sub(before);
    Verdict::of("F25", "answers without end", "a drip, 50 MB, 10 GiB, a gzip bomb, 50,000 headers; 3 of each at once")
        .totals(&totals)
        .measured("memory grown by at most", format!("{} KiB", grown / 1024))
        .publish();
    totals.assert_clean();
    assert!(grown < 32 * MIB, "grown by {grown} bytes");
}

#[tokio::test]
async fn what_is_gone_is_asked_once() {
    let stage = Stage::set(&[("RETRY_SCHEDULE", "50ms")]).await;
    let door = &stage.door;
    let gone = catcher().await;
    gone.script([
        HttpAnswer::status(410),
        HttpAnswer::status(410).with_header("webhook-delivery", "disable"),
        HttpAnswer::status(404),
    ]);
    let mut ids = Vec::new();
    for code in ["410", "410", "404"] {
        let id = door.submit("webhook", hook(&gone)).await;
        let record = door.ended(&id).await;
        assert_eq!((&record["status"], &record["deliveryStatus"]), (&json!("failed"), &json!("dead")), "{record:#}");
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!(
            (attempts.len(), &attempts[0]["code"], &attempts[0]["outcome"]),
            (1, &json!(code), &json!("rejected"))
        );
        assert!(record["errorMessage"].as_str().unwrap().contains(code), "{record:#}");
        ids.push(id);
    }
    let letters = door.get("/api/dead-letters?reviewStatus=pending").await.json();
    let letters = letters["items"].as_array().unwrap();
    for id in &ids {
        let count = letters.iter().filter(|letter| letter["messageId"] == id.as_str()).count();
        assert_eq!(count, 1, "{id} is a dead letter {count} times");
    }
    // A later notification went through the same queue, so a repetition of the earlier ones would have come by now.
    let last = door.submit("webhook", hook(&gone)).await;
    assert_eq!(door.ended(&last).await["status"], "processed");
    door.heard(&gone.requests());
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F27", "an endpoint that is gone", "410, 410 with webhook-delivery: disable, 404")
        .totals(&totals)
        .measured("calls for each", gone.requests().len() / 4)
        .publish();
    totals.assert_clean();
    assert_eq!(gone.requests().len(), 4);
}

#[tokio::test]
async fn an_answer_that_was_cut_off_leads_to_the_same_call_again() {
    let stage = Stage::set(&[("RETRY_SCHEDULE", "1s")]).await;
    let door = &stage.door;
    let cut = catcher().await;
    // Fewer than open a breaker.
    let taken_and_cut = 5;
    cut.script(repeat_n(HttpAnswer::CloseAfterBody, taken_and_cut));
    let ids = door.submit_many(&cut.url("/hook"), 20).await;
    for id in &ids {
        let record = door.ended(id).await;
        assert_eq!(record["status"], "processed", "{record:#}");
    }
    cut.script(repeat_n(HttpAnswer::CloseBeforeReading, 3));
    door.submit_many(&cut.url("/hook"), 20).await;
    let totals = door.settle(PATIENCE).await;
    totals.assert_clean();

    let requests = cut.requests();
    door.heard(&requests);
    let twice: Vec<String> = calls(&requests).into_iter().filter(|(_, calls)| *calls > 1).map(|(id, _)| id).collect();
    assert_eq!(twice.len(), taken_and_cut, "{twice:?}");
    for id in &twice {
        let record = door.show(id).await;
        assert_eq!(record["attempts"][0]["outcome"], "unknown", "{record:#}");
        let bodies: Vec<_> = requests
            .iter()
            .filter(|request| request.header("webhook-id") == Some(id.as_str()))
            .map(|request| &request.body)
            .collect();
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{id} came with two bodies");
    }
    let totals = door.ledger.check();
    Verdict::of("F28", "taken, then reset before the answer", "5 resets after the request, 3 before it")
        .totals(&totals)
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
}

/// What a mail server does to the attempts of one mail, and how the first is judged then.
struct Treatment {
    what: &'static str,
    answers: Vec<SmtpAnswer>,
    first: &'static str,
    is_final: bool,
}

fn treatments() -> Vec<Treatment> {
    let refuse = |stage, code| SmtpAnswer::refuse(stage, code, "as scripted");
    // What happens instead of a greeting needs a new connection, and afterwards one waits for the next mail.
    let instead_of_a_greeting = vec![SmtpAnswer::Silence, refuse(SmtpStage::Connect, 421)];
    let mut treatments = vec![Treatment {
        what: "no greeting, then 421",
        answers: instead_of_a_greeting,
        first: "failed",
        is_final: false,
    }];
    let one_each = [
        ("451 to MAIL", refuse(SmtpStage::Mail, 451), "failed", false),
        ("450 to RCPT", refuse(SmtpStage::Rcpt, 450), "failed", false),
        ("452 to DATA", refuse(SmtpStage::Data, 452), "failed", false),
        ("451 to the content", refuse(SmtpStage::AfterData, 451), "failed", false),
        ("550 to RCPT", refuse(SmtpStage::Rcpt, 550), "rejected", true),
        ("554 to the content", refuse(SmtpStage::AfterData, 554), "rejected", true),
        ("cut after the content", SmtpAnswer::CloseMidway, "unknown", false),
        ("silence from MAIL on", SmtpAnswer::Silence, "failed", false),
    ];
    treatments.extend(one_each.map(|(what, answer, first, is_final)| Treatment {
        what,
        answers: vec![answer],
        first,
        is_final,
    }));
    treatments
}

#[tokio::test]
async fn mail_servers_that_refuse_fall_silent_or_hang_up_are_told_apart() {
    let server = SmtpCatcher::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let relay = format!("smtp://{}?tls=none", server.addr());
    let stage = Stage::set(&[
        ("SMTP_URL", &relay),
        ("SMTP_FROM", "Tidings <noreply@tidings.example>"),
        ("ATTEMPT_TIMEOUT", "2s"),
        ("RETRY_SCHEDULE", "200ms"),
    ])
    .await;
    let door = &stage.door;
    for Treatment { what, answers, first, is_final } in treatments() {
        let scripted = answers.len();
        server.script(answers);
        let id = door.submit("email", json!({"to": "ada@example.com", "subject": what, "body": "b"})).await;
        let record = door.ended(&id).await;
        let (attempts, state) = if is_final { (1, "dead") } else { (scripted + 1, "delivered") };
        assert_eq!(record["deliveryStatus"], state, "{what}: {record:#}");
        assert_eq!(record["attempts"].as_array().unwrap().len(), attempts, "{what}: {record:#}");
        assert_eq!(record["attempts"][0]["outcome"], first, "{what}: {record:#}");
    }
    for mail in server.mails() {
        let id = mail.header("message-id").unwrap();
        let id = id.strip_prefix('<').and_then(|id| id.strip_suffix("@tidings.example>")).unwrap();
        assert_eq!(door.show(id).await["payload"]["subject"].as_str(), mail.subject().as_deref());
        door.ledger.received(id);
    }
    let totals = door.settle(PATIENCE).await;
    Verdict::of("F28", "mail servers that refuse, fall silent or hang up", "4xx and 5xx at each step, silence, a cut")
        .totals(&totals)
        .measured("mails caught", server.mails().len())
        .publish();
    totals.assert_clean();
    totals.assert_all_heard();
}
