//! Whatever stands in a message's properties, lapin can parse what the screen lets through, inferq can read it, and
//! what it would publish again fits a frame.

#![no_main]

use std::sync::LazyLock;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use inferq::{broker::fuzzing, intake};
use libfuzzer_sys::{Corpus, fuzz_target};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime")
});

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len())
        .expect("a small frame")
        .to_be_bytes();
    [&[kind, 0, 1], &size[..], payload, &[206]].concat()
}

// The length of a routing key, the key, a property list.
fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((length, rest)) = data.split_first() else {
        return Corpus::Reject;
    };
    let (key, properties) = rest.split_at(rest.len().min(usize::from(*length)));
    let deliver = [
        &[0, 60, 0, 60, 1, b'c', 0, 0, 0, 0, 0, 0, 0, 1, 0, 6][..],
        b"inferq",
        &[u8::try_from(key.len()).expect("at most 255")],
        key,
    ];
    let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], properties];
    let message = [
        frame(1, &deliver.concat()),
        frame(2, &header.concat()),
        frame(3, b"{}"),
    ];
    let _entered = RUNTIME.enter();
    let screened = fuzzing::screened(&message.concat()).expect("whole frames");
    let mut frames = Vec::new();
    let mut rest = screened.as_slice();
    while !rest.is_empty() {
        let (left, frame) = parse_frame(rest).expect("what the screen lets through");
        frames.push(frame);
        rest = left;
    }
    let [_, AMQPFrame::Header(_, head), _] = frames.as_slice() else {
        panic!("{} frames of 3", frames.len());
    };
    let properties = fuzzing::properties(head.properties.clone());
    intake::fuzzing::read(&properties);
    let kept = fuzzing::published(properties.kept());
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: 2,
        properties: kept,
    };
    let frame = AMQPFrame::Header(1, header);
    let (written, _) = gen_frame(&frame)(Vec::new().into())
        .expect("what was read")
        .into_inner();
    assert!(written.len() < 131_072, "no frame takes what is kept");
    Corpus::Keep
});
