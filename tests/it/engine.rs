//! The sample packages through the engine, held against what scikit-learn says of the same requests.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use inferq::engine::{Engine, Request};
use inferq::message::object::Object;
use serde_json::Value;

use crate::worker::samples;

/// Requests that training never saw, with their true label and scikit-learn's own prediction.
fn held_out(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/held_out/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn request(package: &str, line: &Value) -> Request {
    let object = match line.get("picture") {
        Some(picture) => Object::Picture(
            BASE64_STANDARD
                .decode(picture.as_str().unwrap())
                .unwrap()
                .into(),
        ),
        None => Object::from(line["request"].clone()),
    };
    Request {
        object,
        ..Request::new(package, Value::Null)
    }
}

/// All outcomes, scored together so that they share batches.
async fn outcomes(package: &str, lines: &[Value]) -> Vec<Value> {
    let engine = Engine::open(&samples(), None).unwrap();
    let scores = lines
        .iter()
        .map(|line| engine.score(request(package, line)));
    let answers = futures::future::join_all(scores).await;
    answers
        .into_iter()
        .map(|answer| answer.result.unwrap())
        .collect()
}

fn share(hits: impl Iterator<Item = bool>) -> f64 {
    let hits: Vec<f64> = hits.map(|hit| f64::from(u8::from(hit))).collect();
    hits.iter().sum::<f64>() / hits.len() as f64
}

#[tokio::test]
async fn digits_are_recognised_and_equal_to_scikit_learns() {
    let lines = held_out("digits/requests.ndjson");
    let outcomes = outcomes("digits", &lines).await;
    for (line, outcome) in lines.iter().zip(&outcomes) {
        let expected = &line["expected"];
        assert_eq!(outcome["digit"], expected["label"]);
        let digit = usize::try_from(outcome["digit"].as_u64().unwrap()).unwrap();
        let probability = expected["probabilities"][digit].as_f64().unwrap();
        assert!((outcome["confidence"].as_f64().unwrap() - probability).abs() < 1e-4);
    }
    let accuracy = share(
        lines
            .iter()
            .zip(&outcomes)
            .map(|(line, o)| line["label"] == o["digit"]),
    );
    assert!(accuracy >= 0.95, "accuracy {accuracy}");
}

#[tokio::test]
async fn enlarged_and_jpeg_digits_are_recognised() {
    let lines = held_out("digits/enlarged.ndjson");
    let outcomes = outcomes("digits", &lines).await;
    let accuracy = share(
        lines
            .iter()
            .zip(&outcomes)
            .map(|(line, o)| line["label"] == o["digit"]),
    );
    assert!(accuracy >= 0.95, "accuracy {accuracy}");
}

#[tokio::test]
async fn diagnoses_are_right_and_equal_to_scikit_learns() {
    let lines = held_out("diagnosis/requests.ndjson");
    let outcomes = outcomes("diagnosis", &lines).await;
    for (line, outcome) in lines.iter().zip(&outcomes) {
        let probabilities: Vec<f64> = line["expected"]["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_f64().unwrap())
            .collect();
        let highest = probabilities.iter().copied().fold(0.0, f64::max);
        assert!((outcome["probability"].as_f64().unwrap() - highest).abs() < 1e-4);
        if outcome["diagnosis"] != "uncertain" {
            assert_eq!(outcome["diagnosis"], line["expected"]["label"]);
        }
    }
    let accuracy = share(
        lines
            .iter()
            .zip(&outcomes)
            .map(|(line, o)| line["label"] == o["diagnosis"]),
    );
    assert!(accuracy >= 0.94, "accuracy {accuracy}");
}

#[tokio::test]
async fn verdicts_on_payments_carry_scikit_learns_probability() {
    let lines = held_out("fraud/requests.ndjson");
    let outcomes = outcomes("fraud", &lines).await;
    for (line, outcome) in lines.iter().zip(&outcomes) {
        let probability = line["expected"]["probabilities"][1].as_f64().unwrap();
        assert!((outcome["probability"].as_f64().unwrap() - probability).abs() < 1e-4);
        let verdict = match probability {
            p if p < 0.4 => "not_fraud",
            p if p < 0.6 => "uncertain",
            p if p < 0.9 => "suspicious",
            _ => "highly_suspicious",
        };
        assert_eq!(outcome["verdict"], verdict);
    }
}
