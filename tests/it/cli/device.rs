//! Which device models run on, where a driver is absent, broken, or says no.

use super::*;

/// A folder with a driver's library that is none of NVIDIA's.
fn driver(code: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("driver.c");
    fs::write(&source, code).unwrap();
    for name in ["libcuda.so", "libcuda.so.1"] {
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&folder.path().join(name), &source])
            .status();
        assert!(built.unwrap().success());
    }
    folder
}

/// It answers, and has no GPU.
const WITHOUT_GPU: &str = r#"
int cuInit(unsigned flags) { (void)flags; return 100; }
int cuDeviceGetCount(int *count) { *count = 0; return 0; }
int cuGetErrorName(int error, const char **name) { (void)error; *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuGetErrorString(int error, const char **text) { (void)error; *text = "no CUDA-capable device"; return 0; }
"#;
/// It lacks everything.
const EMPTY: &str = "int nothing;";
/// It ends whatever loads it.
const DEADLY: &str = r"
#include <stdlib.h>
__attribute__((constructor)) static void end(void) { abort(); }
";

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/onnxruntime/libonnxruntime.so")
}

/// `inferq check` of a sample on a device, with this driver.
fn check(device: &str, library: &Path, driver: &TempDir) -> Done {
    let mut command = inferq(&["check", &package("fraud")]);
    command
        .env("INFERQ__RUNTIME__DEVICE", device)
        .env("INFERQ__RUNTIME__LIBRARY", library)
        .env("LD_LIBRARY_PATH", driver.path());
    Done::of(&command.output().unwrap())
}

#[test]
fn a_gpu_that_cannot_be_had_is_an_error_that_says_what_is_missing() {
    for (code, found) in [
        (WITHOUT_GPU, "CUDA_ERROR_NO_DEVICE (no CUDA-capable device)"),
        (EMPTY, "the NVIDIA driver may be broken"),
        (DEADLY, "signal: 6"),
    ] {
        let done = check("cuda:0", &library(), &driver(code));
        let named = "inferq: runtime.device = \"cuda:0\": cuda:0 cannot be had";
        done.failed(69, &[named, found, "or set runtime.device = \"cpu\""]);
    }
    // Not that of all packages.
    let none = driver(WITHOUT_GPU);
    let mut command = inferq(&["check", &package("fraud")]);
    command
        .env("INFERQ__RUNTIME__DEVICE", "cpu")
        .env("INFERQ__RUNTIME__DEVICES", "cats=cpu digits=cuda:0")
        .env("INFERQ__RUNTIME__LIBRARY", library())
        .env("LD_LIBRARY_PATH", none.path());
    let done = Done::of(&command.output().unwrap());
    let named = "inferq: runtime.devices has digits run on cuda:0: cuda:0 cannot be had";
    done.failed(69, &[named, "CUDA_ERROR_NO_DEVICE"]);
    // Nor one of several, as a file has them.
    let config = none.path().join("config.toml");
    let listed = format!(
        "[runtime]\nlibrary = {:?}\ndevice = [\"cuda:1\", \"cuda:0\"]",
        library()
    );
    fs::write(&config, listed).unwrap();
    let config = config.to_str().unwrap();
    let mut command = inferq(&["--config", config, "check", &package("fraud")]);
    command.env("LD_LIBRARY_PATH", none.path());
    let done = Done::of(&command.output().unwrap());
    let named = "inferq: runtime.device = \"cuda:1+cuda:0\": cuda:1 cannot be had";
    done.failed(69, &[named, "CUDA_ERROR_NO_DEVICE"]);
    // Whatever this machine has.
    let mut command = inferq(&["check", &package("fraud")]);
    command.env("INFERQ__RUNTIME__DEVICE", "cuda:99");
    command.env("INFERQ__RUNTIME__LIBRARY", library());
    let done = Done::of(&command.output().unwrap());
    done.failed(69, &["cuda:99 cannot be had", "runtime.device = \"cpu\""]);
}

#[test]
fn unless_told_otherwise_models_run_on_the_processor_where_no_gpu_can_be_had() {
    // The CPU's build of ONNX Runtime: no driver is even looked at.
    let done = check("auto", &library(), &driver(DEADLY));
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    // The CUDA build's provider lies beside it.
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("libonnxruntime.so");
    symlink(library(), &both).unwrap();
    fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), "").unwrap();
    for code in [WITHOUT_GPU, EMPTY, DEADLY] {
        let done = check("auto", &both, &driver(code));
        assert_eq!(done.code, 0, "{}", done.err);
        let told = "models run on the processor: cuda:0 cannot be had";
        assert_eq!(done.err.matches(told).count(), 1, "{}", done.err);
        assert!(!done.err.contains("panicked"), "{}", done.err);
    }
    let done = check("cpu", &both, &driver(DEADLY));
    assert_eq!((done.code, done.err.as_str()), (0, ""));
}

#[test]
fn a_device_that_is_none_is_a_usage_error() {
    for (device, expected) in [
        ("gpu", "expected cpu or cuda:N"),
        ("cuda:0+cpu", "expected GPUs alone"),
        ("cuda:0+cuda:0", "expected each device once"),
    ] {
        let mut command = inferq(&["check", &package("fraud")]);
        command.env("INFERQ__RUNTIME__DEVICE", device);
        let done = Done::of(&command.output().unwrap());
        let found = format!("found {device:?}, {expected}");
        let mend = "write auto, cpu, cuda:0";
        done.failed(64, &["INFERQ__RUNTIME__DEVICE", &found, mend]);
    }
    let as_in = "write it as in fraud=cpu cats=cuda:1+cuda:2";
    let pair = "expected the name of a package";
    let (once, leave) = ("expected each package once", "leave one of the two out");
    for (devices, word, expected, mend) in [
        (
            "fraud=cpu digits=gpu",
            "digits=gpu",
            "expected cpu or cuda:N",
            as_in,
        ),
        (
            "digits=cpu+cuda:1",
            "digits=cpu+cuda:1",
            "expected GPUs alone",
            as_in,
        ),
        ("cuda:1", "cuda:1", pair, as_in),
        ("fraud=cpu fraud=cpu", "fraud=cpu", once, leave),
    ] {
        let mut command = inferq(&["check", &package("fraud")]);
        command.env("INFERQ__RUNTIME__DEVICES", devices);
        let done = Done::of(&command.output().unwrap());
        let found = format!("runtime.devices: found \"{word}\", {expected}");
        done.failed(64, &["INFERQ__RUNTIME__DEVICES", &found, mend]);
    }
}
