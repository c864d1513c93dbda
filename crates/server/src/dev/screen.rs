//! What `tidings dev` says on the terminal.

use crate::dev::demo::Outcome;
use crate::dev::stage::Stage;
use crate::serve::SEED_USERS;

/// What came out of each channel.
pub(crate) fn outcomes(outcomes: &[Outcome]) -> String {
    let rows =
        outcomes.iter().map(|outcome| format!("  {:<8}  {:<10} {}", outcome.channel, outcome.state, outcome.came_out));
    let rows: Vec<String> = rows.collect();
    format!("  A notification went through every channel:\n\n{}\n", rows.join("\n"))
}

/// A token and calls to paste. `follow` is the id of a notification that exists.
pub(crate) fn invitation(url: &str, token: &str, follow: Option<&str>) -> String {
    let (user, _, _) = SEED_USERS[0];
    let post = |body: String| {
        format!(
            "  curl -s {url}/api/notifications -H \"Authorization: Bearer $TOKEN\" \\\n    -H 'Content-Type: application/json' -d '{body}'"
        )
    };
    let in_app = post(format!(
        r#"{{"targetUserId":"{user}","type":"in-app","payload":{{"title":"Hello","message":"It works"}}}}"#
    ));
    let mail = post(format!(
        r#"{{"targetUserId":"{user}","type":"email","payload":{{"subject":"Hello","body":"It works"}}}}"#
    ));
    let followed = match follow {
        Some(id) => format!("{url}/api/notifications/{id}"),
        None => format!("'{url}/api/notifications?limit=1'"),
    };
    let follow = format!("  curl -s {followed} -H \"Authorization: Bearer $TOKEN\"");
    format!("  Try it:\n\n  export TOKEN={token}\n\n{in_app}\n\n{mail}\n\n{follow}\n")
}

/// Where everything is.
pub(crate) fn places(url: &str, stage: &Stage) -> String {
    let (mail, webhooks) = (stage.catchers.mail.addr(), stage.catchers.webhooks.addr());
    format!(
        "  Watch   {url}/dev    what each channel sends, live, and a clock that you can move\n  \
           Read    {url}/docs   the API\n  \
           Caught  mails at {mail}, webhooks at http://{webhooks}: nothing leaves this machine\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_can_be_pasted() {
        let text = invitation("http://127.0.0.1:8080", "abc", Some("0192"));
        assert!(text.contains("export TOKEN=abc\n"));
        assert_eq!(text.matches("curl -s ").count(), 3);
        let bodies = text.split("-d '").skip(1).map(|rest| rest.split('\'').next().unwrap());
        for body in bodies {
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
        }
        assert!(text.contains("/api/notifications/0192 "));
    }
}
