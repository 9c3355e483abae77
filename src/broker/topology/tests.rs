use super::*;

fn topology() -> Topology {
    Topology {
        packages: vec![PackageQueues {
            name: "digits".into(),
            high: true,
        }],
        retry_ms: vec![1_000],
    }
}

#[test]
fn every_queue_is_a_quorum_queue_with_a_binding() {
    for queue in topology().whole_plan().queues {
        assert_eq!(queue.arguments[0], ("x-queue-type", text("quorum")));
        assert!(!queue.bindings.is_empty(), "{}", queue.name);
    }
}

#[test]
fn at_least_once_always_comes_with_reject_publish() {
    for queue in topology().whole_plan().queues {
        let has = |key, value| queue.arguments.contains(&(key, text(value)));
        let dies = queue.arguments.iter().any(|(key, _)| key.contains("dead"));
        assert_eq!(dies, has("x-dead-letter-strategy", "at-least-once"));
        assert_eq!(dies, has("x-overflow", "reject-publish"));
    }
}

#[test]
fn the_export_names_what_the_plan_declares() {
    let export = topology().export("/");
    let names: Vec<_> = export["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| queue["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "inferq.died",
            "inferq.unknown",
            "inferq.digits",
            "inferq.digits.high",
            "inferq.retry.1000",
            "inferq.dead.digits",
            "inferq.dead.unknown",
            "inferq.dead.died"
        ]
    );
    assert_eq!(export["exchanges"].as_array().unwrap().len(), 5);
    assert_eq!(export["bindings"].as_array().unwrap().len(), 8);
}
