//! A request schema is taken or its faults are named; one that is taken judges any request.

#![no_main]

use std::sync::LazyLock;

use inferq::{
    message::object::Object,
    tensor::{Dtype, Signature},
};
use inferq_fuzz::{Folder, classifier, port};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::like("fraud"));

static SIGNATURE: LazyLock<Signature> =
    LazyLock::new(|| classifier(vec![port("features", Dtype::Float32, &[13])], 2));

// The schema, a zero byte, the request.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    FOLDER.write("request.schema.json", parts.next().unwrap_or_default());
    match FOLDER.bind(&SIGNATURE) {
        Ok(package) => {
            let request = parts.next().unwrap_or(b"{}");
            if let Ok(request) = serde_json::from_slice(request)
                && let Err(rejection) = package.validate(&Object::from(request))
            {
                assert!(!rejection.detail.is_empty());
            }
        }
        Err(faults) => assert!(!faults.is_empty(), "no package and no fault"),
    }
});
