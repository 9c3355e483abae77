//! Letters that are strange, or in somebody else's hand.

use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_dead_lettered_has_its_reason_and_hostile_words_stay_words() {
    let (url, client) = fraud().await;
    client
        .expire_into_dead("fraud", b"\x89PNG not at all")
        .await;
    client.until_ready("inferq.dead.fraud", 1).await;
    let lines = dead(
        &url,
        &[
            "list",
            "fraud",
            "--json",
            "--reason",
            "expired",
            "--newer-than",
            "1h",
        ],
    )
    .lines();
    assert_eq!(lines[0]["stage"], "broker, in short-lived");
    let id = lines[0]["id"].as_str().unwrap();
    assert_eq!(id.len(), 12, "a hash, for want of a message_id");
    assert_eq!(listed(&url, "id", &[]), [id], "the same each time");
    let shown = dead(&url, &["show", "fraud", id]);
    for part in [
        "15 bytes that are no JSON",
        "89 50 4e 47",
        ".PNG.not",
        "short-lived",
    ] {
        assert!(shown.out.contains(part), "no {part:?} in {}", shown.out);
    }
    let escape = "\u{1b}[2J\u{9b}31m\r\n";
    let hostile = marked(properties(escape), escape, None).with_content_type(escape.into());
    let body = json!({ escape: escape }).to_string().into_bytes();
    client
        .publish("inferq.dead", "fraud", vec![(hostile, body)])
        .await;
    let done = dead(&url, &["list", "fraud"]);
    let hostile = |out: &str| out.chars().any(|c| c.is_control() && c != '\n');
    assert!(
        done.out.lines().count() == 4 && !hostile(&done.out),
        "{:?}",
        done.out
    );
    let ids = listed(&url, "id", &[]);
    let shown = dead(&url, &["show", "fraud", ids[1].as_str().unwrap()]);
    assert!(shown.code == 0 && !hostile(&shown.out), "{:?}", shown.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_in_the_hand_of_another_are_said_to_be_missing_and_nothing_is_broken() {
    let (url, client) = fraud().await;
    let letters = (0..900).map(|n| {
        (
            marked(properties(&n.to_string()), "poison", None),
            vec![b'x'; 100],
        )
    });
    client
        .publish("inferq.dead", "fraud", letters.collect())
        .await;
    let taken = client.hold("inferq.dead.fraud", 100).await;
    let done = dead(&url, &["list", "fraud"]);
    assert_eq!(done.out.lines().last(), Some("800 letters: poison 800"));
    assert!(
        done.err.contains("1 other reader has letters"),
        "{}",
        done.err
    );
    taken.give_back().await;
    client.until_ready("inferq.dead.fraud", 900).await;
    let many: Vec<_> = (0..6)
        .map(|n| {
            let args = if n % 2 == 0 {
                &["list", "fraud"][..]
            } else {
                &["show", "fraud", "899"][..]
            };
            let args = [&["dead"], args, &["--broker-url", &url]].concat();
            inferq(&args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in many {
        let done = Done::of(&child.wait_with_output().unwrap());
        let unseen = done.err.contains("no letter has the id");
        assert!(
            done.code == 0 || (done.code == 65 && unseen),
            "{} {}",
            done.code,
            done.err
        );
    }
    client.until_ready("inferq.dead.fraud", 900).await;
    assert_eq!(listed(&url, "id", &[]).len(), 900);
}
