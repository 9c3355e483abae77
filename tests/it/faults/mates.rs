//! Rows that make a run fail, or give no number, among healthy ones.

use serde_json::json;

use super::{Client, Packages, header_text, properties};
use crate::{
    onnx,
    worker::{Worker, vhost},
};

const OUTCOME: &str = "[outcome.y.number]\noutput = \"y\"\nround = 3\n";

/// `table` fails the whole run for an x outside of -3..3; `logarithm` gives NaN below 0.
pub(super) fn packages() -> Packages {
    let batch = "max_size = 32\nmax_delay_ms = 20.0";
    let ports = |dtype: &str| {
        format!("[input.x]\ndtype = \"{dtype}\"\ncolumns = [{{ pointer = \"/x\" }}]\n{OUTCOME}")
    };
    Packages::new()
        .with(
            ("table", "1.0.0"),
            batch,
            &ports("int64"),
            &onnx::lookup(),
            (json!({"x": 1}), json!({"y": 20.0})),
        )
        .with(
            ("logarithm", "1.0.0"),
            batch,
            &ports("float32"),
            &onnx::logarithm(),
            (json!({"x": 1}), json!({"y": 0.0})),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fail_the_run_or_give_no_number_cost_no_batch_mate_its_outcome() {
    let (url, packages) = (vhost(), packages());
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    let mut sent = 0;
    for package in ["table", "logarithm"] {
        // Enough for the credit to grow, so that the rest shares batches.
        let requests = (0..400).map(|n| {
            let bad = n > 200 && n % 20 == 0;
            let x = if bad { json!(-10 - n) } else { json!(n % 3) };
            (
                properties(&format!("{package}-{n}")),
                json!({"x": x}).to_string(),
            )
        });
        client.send_all(package, requests.collect()).await;
        sent += 400;
        client.until_answered(sent).await;
        let mut largest = 0;
        for n in 0..400 {
            let answer = client.answer(&format!("{package}-{n}"));
            let fails = n > 200 && n % 20 == 0 || package == "logarithm" && n % 3 == 0;
            let healthy = !fails;
            let batch = answer
                .timing
                .split("b=")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            largest = largest.max(batch.and_then(|b| b.parse().ok()).unwrap_or(0));
            if healthy {
                let y = if package == "table" {
                    f64::from(10 * (n % 3 + 1))
                } else {
                    f64::from(n % 3).ln()
                };
                assert_eq!(answer.code(), "outcome", "{package} {n}: {answer:?}");
                assert!(
                    (answer.body["y"].as_f64().unwrap() - y).abs() < 1e-3,
                    "{package} {n}: {answer:?}"
                );
            } else {
                assert_eq!(answer.code(), "model_fault", "{package} {n}: {answer:?}");
                assert!(
                    !answer.body.to_string().contains(&format!("-{}", n + 10)),
                    "no content: {answer:?}"
                );
            }
        }
        eprintln!("{package}: the largest batch of an answer had {largest} rows");
        assert!(largest > 1, "nothing shared a batch");
    }
    assert_eq!(client.duplicates(), 0);
    // Never retried, each kept for the package's owner.
    client.until_ready("inferq.dead.table", 9).await;
    for letter in client.drain("inferq.dead.table").await {
        assert_eq!(
            header_text(&letter.properties, "inferq-reason").as_deref(),
            Some("model_fault")
        );
    }
    assert!(worker.status()["not_live"].is_null());
}
