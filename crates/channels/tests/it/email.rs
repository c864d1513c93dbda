//! E-mail against a relay that can misbehave.

use mail_parser::MessageParser;
use serde_json::{Value, json};
use tidings_catcher::{Mail, SmtpAnswer, SmtpStage};
use tidings_core::delivery::Verdict;

use crate::support::World;

fn payload() -> Value {
    json!({"to": "ada@example.com", "subject": "Grüße", "body": "Hallo Ada", "htmlContent": "<p>Hallo Ada</p>"})
}

async fn verdict(world: &World, answer: SmtpAnswer) -> Verdict {
    world.smtp.script([answer]);
    world.send("email", &payload()).await.verdict
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let world = World::open().await;
    let notification = world.notification("email", &payload());
    let report = world.attempt(&notification).await;
    assert_eq!((report.verdict, report.code.as_deref(), report.provider), (Verdict::Delivered, Some("250"), "smtp"));

    let [mail]: [Mail; 1] = world.smtp.mails().try_into().unwrap();
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("news@tidings.example", ["ada@example.com".to_owned()].as_slice())
    );
    assert_eq!(mail.subject().as_deref(), Some("Grüße"));
    assert_eq!(mail.text().as_deref().map(str::trim), Some("Hallo Ada"));
    assert_eq!(mail.html().as_deref().map(str::trim), Some("<p>Hallo Ada</p>"));
    assert_eq!(mail.header("Message-ID"), Some(format!("<{}@tidings.example>", notification.id)));
    assert_eq!(mail.header("X-Correlation-Id").as_deref(), Some("order-4711"));
}

#[tokio::test]
async fn no_text_becomes_a_second_mail() {
    let world = World::open().await;
    let endings = [
        "\n.\r\nMAIL FROM:<x@y.example>\r\n",
        "\r\n.\r\nMAIL FROM:<x@y.example>\r\n",
        "\r.\r",
        "\n.\n",
        "\r\n.\n",
        "\n.\r\n",
        ".",
    ];
    for ending in endings {
        let body = format!("before{ending}after{ending}");
        let report = world.send("email", &json!({"to": "ada@example.com", "subject": "s", "body": body})).await;
        assert_eq!(report.verdict, Verdict::Delivered, "{ending:?}");
    }
    let mails = world.smtp.mails();
    assert_eq!(mails.len(), endings.len());
    for mail in mails {
        assert_eq!(mail.to, ["ada@example.com"]);
        let parsed = MessageParser::default().parse(&mail.raw).unwrap();
        let text = parsed.body_text(0).unwrap();
        assert!(text.starts_with("before") && text.contains("after"), "{text:?}");
    }
}

#[tokio::test]
async fn refusals_have_their_verdicts_at_every_stage() {
    let world = World::open().await;
    for stage in [SmtpStage::Mail, SmtpStage::Rcpt, SmtpStage::Data, SmtpStage::AfterData] {
        assert_eq!(
            verdict(&world, SmtpAnswer::refuse(stage, 450, "later")).await,
            Verdict::Retry { after: None },
            "{stage:?}"
        );
        assert_eq!(verdict(&world, SmtpAnswer::refuse(stage, 550, "no")).await, Verdict::Reject, "{stage:?}");
    }
    assert!(world.smtp.mails().is_empty());
    assert_eq!(verdict(&world, SmtpAnswer::Accept).await, Verdict::Delivered);
}

#[tokio::test]
async fn a_refusal_is_told_without_the_address() {
    let world = World::open().await;
    world.smtp.script([SmtpAnswer::refuse(SmtpStage::Rcpt, 550, "5.1.1 <ada@example.com> does not live here")]);
    let report = world.send("email", &payload()).await;
    assert_eq!(
        (report.code.as_deref(), report.message.as_deref()),
        (Some("550"), Some("5.1.1 <address> does not live here"))
    );
}

#[tokio::test]
async fn a_relay_that_cannot_be_used_is_tried_again() {
    let world = World::open().await;
    assert_eq!(
        verdict(&world, SmtpAnswer::refuse(SmtpStage::Connect, 554, "closed")).await,
        Verdict::Retry { after: None }
    );
    assert_eq!(verdict(&world, SmtpAnswer::Silence).await, Verdict::Retry { after: None });
}

#[tokio::test]
async fn a_cut_after_the_content_leaves_the_outcome_open() {
    let world = World::open().await;
    assert_eq!(verdict(&world, SmtpAnswer::CloseMidway).await, Verdict::Unknown);
    assert_eq!(verdict(&world, SmtpAnswer::Accept).await, Verdict::Delivered);
    assert_eq!(world.smtp.mails().len(), 1);
}
