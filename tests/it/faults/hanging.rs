//! Runs that take longer, or more memory, than their package allows.

use serde_json::json;

use super::{
    CORES, Client, Packages, header_text,
    packages::{LABOUR, set_limit},
    properties, request,
};
use crate::{
    onnx,
    worker::{Worker, vhost},
};

/// `loop` looks up between the turns of a loop, `product` is one multiplication that does not.
fn packages(loop_ms: u32, product_ms: u32) -> Packages {
    let golden = || (json!({"x": 7, "work": 3}), json!({"y": 7}));
    let batch = "max_size = 8\nmax_delay_ms = 1.0";
    let packages = Packages::new()
        .with(("loop", "1.0.0"), batch, LABOUR, &onnx::labour(), golden())
        .with(
            ("product", "1.0.0"),
            batch,
            LABOUR,
            &onnx::product(),
            golden(),
        );
    // Long enough for the matrices to be there, and far shorter than they take to be multiplied.
    for (name, limit) in [("loop", loop_ms), ("product", product_ms)] {
        set_limit(&packages, name, &format!("run_ms = {limit}"));
    }
    packages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beyond_its_memory_is_a_model_fault_and_its_mates_are_answered() {
    let (url, packages) = (vhost(), packages(3_000, 3_000));
    set_limit(&packages, "product", "run_memory_bytes = 4194304");
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    for id in 0..40 {
        let width = if id == 20 { 2_000 } else { 10 };
        let properties = properties(&id.to_string());
        let request = request(id, width);
        client.send("product", properties, &request).await;
    }
    client.until_answered(40).await;
    assert_eq!(client.answer("20").code(), "model_fault");
    client.assert_outcomes((0..40).filter(|id| *id != 20));
    let log = worker.log();
    assert!(
        log.contains("more than 4194304 bytes of memory (limits.run_memory_bytes)"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beyond_its_limit_is_a_model_fault_and_its_mates_are_answered() {
    let (url, packages) = (vhost(), packages(300, 3_000));
    let worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    for id in 0..40 {
        let work = if id == 20 { 1 << 50 } else { 1 };
        let properties = properties(&id.to_string());
        client.send("loop", properties, &request(id, work)).await;
    }
    client.until_answered(40).await;
    assert_eq!(client.answer("20").code(), "model_fault");
    client.assert_outcomes((0..40).filter(|id| *id != 20));
    client.until_ready("inferq.dead.loop", 1).await;
    let letters = client.drain("inferq.dead.loop").await;
    let reason = header_text(&letters[0].properties, "inferq-reason");
    assert_eq!(reason.as_deref(), Some("model_fault"));
    assert!(worker.log().contains("stopped after 300ms (limits.run_ms)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_listen_ends_its_worker_with_70_and_the_request_goes_back() {
    // A core is busy with it to its worker's end.
    let _cores = CORES.lock().await;
    let (url, patient) = (vhost(), packages(3_000, 600_000));
    let packages = packages(3_000, 6_000);
    let width: u32 = 12_000;
    let mut worker = Worker::start(&url, packages.path());
    let mut client = Client::connect(&url).await;
    client
        .send("product", properties("deaf"), &request(1, width.into()))
        .await;
    client.send("loop", properties("2"), &request(2, 1)).await;
    client.until_answered(1).await;
    client.assert_outcomes([2]);
    let status = worker.wait();
    assert_eq!(status.code(), Some(70), "{}", worker.log());
    assert!(worker.log().contains("does not end when it is stopped"));
    client.until_ready("inferq.product", 1).await;

    // One that was told to stop meanwhile does not wait for it either, however long it may run.
    let impatient = [("INFERQ__INTAKE__DRAIN_TIMEOUT_S", "1")];
    let mut worker = Worker::spawn(&url, patient.path(), &impatient);
    worker.await_ready();
    // Until its matrix is there, the run does listen: it could be stopped before the multiplication.
    let matrix = (width as usize).pow(2) * size_of::<f32>();
    worker.await_that("multiplying", |worker| worker.peak_bytes() > matrix);
    worker.signal("TERM");
    let status = worker.wait();
    assert_eq!(status.code(), Some(70), "{}", worker.log());
    client.until_ready("inferq.product", 1).await;
    assert_eq!(client.ready("inferq.dead.product").await, 0);
}
