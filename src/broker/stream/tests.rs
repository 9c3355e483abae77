use super::*;
use crate::broker::screen::Blemish;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties, basic};
use amq_protocol::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};
use futures::FutureExt;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use proptest::collection::vec;
use proptest::prelude::*;
use std::task::Waker;

const PATIENCE: Duration = Duration::from_secs(3);

/// Hands out its bytes in the given portions, then ends.
struct Portions(Vec<Vec<u8>>);

impl tokio::io::AsyncRead for Portions {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(first) = self.0.first_mut() {
            let count = first.len().min(buf.remaining());
            buf.put_slice(&first[..count]);
            first.drain(..count);
            if first.is_empty() {
                self.0.remove(0);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn split(bytes: &[u8], cuts: &[usize]) -> Portions {
    let mut portions = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at(1 + cut % rest.len());
        portions.push(head.to_vec());
        rest = tail;
    }
    if !rest.is_empty() {
        portions.push(rest.to_vec());
    }
    Portions(portions)
}

/// What lapin would read of `bytes`, and the marks left.
fn screened(bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, Arc<Marks>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut stream = Screened::new(split(bytes, cuts), PATIENCE);
        let marks = stream.marks();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        (read, marks)
    })
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.push(206);
    frame
}

fn short(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend(text);
    bytes
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let mut long = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    long.extend(bytes);
    long
}

fn deliver(tag: u64, exchange: &[u8], key: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 60];
    payload.extend(short(b"consumer"));
    payload.extend(tag.to_be_bytes());
    payload.push(0);
    payload.extend(short(exchange));
    payload.extend(short(key));
    frame(1, 1, &payload)
}

fn header(properties: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    payload.extend(properties);
    frame(2, 1, &payload)
}

/// One delivery with the given property list and routing key.
fn message(properties: &[u8], key: &[u8]) -> Vec<u8> {
    [
        deliver(1, b"inferq", key),
        header(properties),
        frame(3, 1, b"{}"),
    ]
    .concat()
}

fn parsed(mut bytes: &[u8]) -> Result<Vec<AMQPFrame>, String> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).map_err(|fault| format!("{fault:?}"))?;
        frames.push(frame);
        bytes = rest;
    }
    Ok(frames)
}

fn headers(table: &[u8]) -> Vec<u8> {
    [&[0x20, 0][..], &long(table)].concat()
}

fn generated(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(Vec::new().into()).unwrap().into_inner().0
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<f64>().prop_map(AMQPValue::Double),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|items| {
                let mut array = FieldArray::default();
                for item in items {
                    array.push(item);
                }
                AMQPValue::FieldArray(array)
            }),
            table(inner).prop_map(AMQPValue::FieldTable),
        ]
    })
}

fn table(values: impl Strategy<Value = AMQPValue>) -> impl Strategy<Value = FieldTable> {
    vec(("\\PC{0,20}", values), 0..5).prop_map(|entries| {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert(key.into(), value);
        }
        table
    })
}

/// Bytes that look like headers more often than noise does.
fn nearly_table() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop::sample::select(b"tbBsuUIilLfdDSATFVxz".to_vec());
    let leaf = (vec(any::<u8>(), 0..4), tag.clone(), vec(any::<u8>(), 0..12))
        .prop_map(|(key, tag, rest)| [short(&key), vec![tag], rest].concat());
    leaf.prop_recursive(20, 60, 3, move |inner| {
        (vec(any::<u8>(), 0..4), tag.clone(), vec(inner, 0..3))
            .prop_map(|(key, tag, rest)| [short(&key), vec![tag], long(&rest.concat())].concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_the_property_bytes_the_parser_never_errs(
        properties in prop_oneof![
            vec(any::<u8>(), 2..80),
            (any::<u16>(), nearly_table()).prop_map(|(flags, table)| [
                &(flags & 0x3fff | 0x2000).to_be_bytes()[..], &long(&table)
            ].concat()),
            nearly_table().prop_map(|table| headers(&table)),
        ],
        key in vec(any::<u8>(), 0..20),
        cuts in vec(0..200_usize, 0..30),
    ) {
        let (read, _) = screened(&message(&properties, &key), &cuts);
        let frames = parsed(&read);
        prop_assert!(frames.as_ref().is_ok_and(|frames| frames.len() == 3), "{:?}", frames);
    }

    #[test]
    fn valid_frames_pass_byte_identical_at_any_split(
        headers in table(value()),
        text in "\\PC{0,60}",
        body in vec(any::<u8>(), 0..300),
        cuts in vec(0..200_usize, 0..30),
    ) {
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type(text.clone().into())
            .with_correlation_id(text.clone().into())
            .with_priority(3)
            .with_timestamp(7);
        let deliver = basic::Deliver {
            consumer_tag: "c".into(),
            delivery_tag: 9,
            redelivered: true,
            exchange: text.clone().into(),
            routing_key: text.into(),
        };
        let frames = [
            AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))),
            AMQPFrame::Header(1, AMQPContentHeader { class_id: 60, body_size: body.len() as u64, properties }),
            AMQPFrame::Body(1, body),
            AMQPFrame::Heartbeat,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(generated).collect();
        let (read, marks) = screened(&bytes, &cuts);
        prop_assert_eq!(read, bytes);
        prop_assert_eq!(marks.take(1, 9), None);
    }
}

#[test]
fn headers_nested_deeper_than_sixteen_become_bytes_and_are_marked() {
    let mut nested = Vec::new();
    for _ in 0..5_000 {
        nested = [&b"\x01kF"[..], &long(&nested)].concat();
    }
    let (read, marks) = screened(&message(&headers(&nested), b"digits"), &[]);
    let frames = parsed(&read).unwrap();
    assert!(
        matches!(&frames[1], AMQPFrame::Header(1, head) if head.properties.headers().is_some())
    );
    assert_eq!(marks.take(1, 1), Some(Blemish::TooDeep));
    assert_eq!(marks.take(1, 1), None);
}

#[test]
fn bytes_that_are_not_utf8_become_question_marks_and_are_marked() {
    let table = [&short(b"k\xffy")[..], b"V"].concat();
    let (read, marks) = screened(&message(&headers(&table), b"caf\xe9s"), &[]);
    let frames = parsed(&read).unwrap();
    let AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))) = &frames[0]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(deliver.routing_key.as_str(), "caf?s");
    let AMQPFrame::Header(1, head) = &frames[1] else {
        panic!("{frames:?}")
    };
    assert!(
        head.properties
            .headers()
            .as_ref()
            .unwrap()
            .contains_key("k?y")
    );
    assert_eq!(marks.take(1, 1), Some(Blemish::NotUtf8));
}

#[test]
fn a_property_list_that_cannot_be_walked_becomes_empty_and_is_marked() {
    let (read, marks) = screened(&message(&[0x80, 0, 200, b'x'], b"digits"), &[]);
    let frames = parsed(&read).unwrap();
    assert!(
        matches!(&frames[1], AMQPFrame::Header(1, head) if head.properties == BasicProperties::default() && head.body_size == 2)
    );
    assert_eq!(marks.take(1, 1), Some(Blemish::Unreadable));
}

#[test]
fn marks_of_a_channel_are_forgotten_when_its_number_opens_anew() {
    let open = frame(1, 1, &[0, 20, 0, 11, 0, 0, 0, 0]);
    let (_, marks) = screened(&[message(&[0, 0], b"\xff"), open].concat(), &[]);
    assert_eq!(marks.take(1, 1), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_silent_times_out() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let mut stream = Screened::new(ours, PATIENCE);
    let fault = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn after_open_ok_silence_is_no_fault() {
    use tokio::io::AsyncWriteExt;
    let (ours, mut theirs) = tokio::io::duplex(64);
    let mut stream = Screened::new(ours, PATIENCE);
    theirs
        .write_all(&frame(1, 0, &[0, 10, 0, 41, 0]))
        .await
        .unwrap();
    stream.read_exact(&mut [0; 13]).await.unwrap();
    tokio::time::advance(PATIENCE * 2).await;
    let mut context = Context::from_waker(Waker::noop());
    let poll = Pin::new(&mut stream).poll_read(&mut context, &mut [0; 8]);
    assert!(poll.is_pending());
}

#[tokio::test]
async fn it_knows_when_the_socket_took_something_last() {
    let (near, _far) = tokio::io::duplex(4);
    let mut stream = Screened::new(near, PATIENCE);
    let written = stream.written();
    let opened = written.last();
    stream.write_all(b"four").await.unwrap();
    let first = written.last();
    assert!(first > opened);

    assert!(stream.write(b"more").now_or_never().is_none(), "it is full");
    assert_eq!(written.last(), first);

    stream.flush().await.unwrap();
    let flushed = written.last();
    assert!(flushed > first);
    stream.flush().await.unwrap();
    assert_eq!(written.last(), flushed, "there was nothing to flush");
}
