//! Inboxes and receipts.

use serde_json::{Value, json};

use tidings_core::delivery::Verdict;
use tidings_testkit::sample::{TESTUSER, USER1};

use crate::world::{World, note_to};

/// A world in which the first user has three messages.
async fn with_three_messages() -> (World, String) {
    let world = World::new().await;
    for _ in 0..3 {
        world.submit(&note_to(TESTUSER)).await;
    }
    world.attempt(Verdict::Delivered).await;
    (world, format!("/api/users/{TESTUSER}/inbox"))
}

fn numbers(page: &Value) -> Vec<u64> {
    page["items"].as_array().expect("a page").iter().filter_map(|item| item["number"].as_u64()).collect()
}

#[tokio::test]
async fn an_inbox_is_numbered_without_gaps() {
    let (world, inbox) = with_three_messages().await;
    let newest = world.get(&inbox, &world.mine()).await.json();
    assert_eq!(numbers(&newest), [3, 2, 1]);
    assert_eq!((&newest["last"], &newest["unread"], &newest["nextCursor"]), (&json!(3), &json!(3), &Value::Null));
    assert_eq!(newest["items"][0]["payload"], json!({"title": "Hello"}));
    let missed = world.get(&format!("{inbox}?after=1&limit=1"), &world.mine()).await.json();
    assert_eq!((numbers(&missed), &missed["nextCursor"]), (vec![2], &json!(2)));
    let older = world.get(&format!("{inbox}?before=3&limit=2"), &world.mine()).await.json();
    assert_eq!(numbers(&older), [2, 1]);
}

#[tokio::test]
async fn receipts_count_the_first_time() {
    let (world, inbox) = with_three_messages().await;
    let receipts = format!("{inbox}/receipts");
    let read = json!({"receipt": "read", "numbers": [2]});
    for _ in 0..2 {
        let state = world.post(&receipts, &world.mine(), &read).await;
        assert_eq!((state.status.as_u16(), state.json()), (200, json!({"unread": 2, "last": 3})));
    }
    world.post(&receipts, &world.mine(), &json!({"receipt": "delivered", "upTo": 3})).await;
    let unread = world.get(&format!("{inbox}/unread"), &world.mine()).await;
    assert_eq!(unread.text, r#"{"unread":2,"last":3}"#);
    let page = world.get(&format!("{inbox}?before=3&limit=1"), &world.mine()).await.json();
    assert!(page["items"][0]["readAt"].is_string() && page["items"][0]["deliveredAt"].is_string());
}

#[tokio::test]
async fn anothers_inbox_does_not_exist() {
    let (world, inbox) = with_three_messages().await;
    let stranger = world.token(Some(USER1), None);
    assert_eq!(world.get(&inbox, &stranger).await.status, 404);
    assert_eq!(world.get(&format!("{inbox}/unread"), &stranger).await.status, 404);
    let read = json!({"receipt": "read", "upTo": 3});
    assert_eq!(world.post(&format!("{inbox}/receipts"), &stranger, &read).await.status, 404);
    assert_eq!(world.get(&inbox, &world.reader()).await.status, 200);
    assert_eq!(world.post(&format!("{inbox}/receipts"), &world.reader(), &read).await.status, 403);
    assert_eq!(world.get("/api/users/not-a-uuid/inbox", &world.admin()).await.status, 404);
}
