"""Puts the pinned ONNX Runtime library at FOLDER/libonnxruntime.so: `onnxruntime.py FOLDER [cuda]`.

The library is a plain file in the wheel of the Python package; `cuda` is that of its build for NVIDIA GPUs, whose
providers lie beside it. The wheel is named in full, so that it does not matter which Python runs this; pip must be
there only when the files are not.
"""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

VERSION = "1.31.1"
LIBRARY = "libonnxruntime.so"
# Of the files themselves, as they are to be called: they are the same in the wheels for every version of Python.
SHA256 = {
    ("onnxruntime", "x86_64"): {
        LIBRARY: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    ("onnxruntime", "aarch64"): {
        LIBRARY: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
    ("onnxruntime-gpu", "x86_64"): {
        "libonnxruntime_providers_shared.so": "086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d",
        "libonnxruntime_providers_cuda.so": "d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137",
        LIBRARY: "5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303",
    },
}
NOTICES = ["LICENSE", "ThirdPartyNotices.txt"]


def say(text):
    print(f"setup: ONNX Runtime {VERSION}: {text}", flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def download(package, machine, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder]
    command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"]
    for glibc in ["2_27", "2_28"]:
        command += ["--platform", f"manylinux_{glibc}_{machine}"]
    command.append(f"{package}=={VERSION}")
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(
            "setup: the wheel could not be fetched; to use a library that you have, "
            "set ORT_DYLIB_PATH to it. What was tried:\n  " + " ".join(command)
        )
    return next(pathlib.Path(folder).glob("*.whl"))


def place(wheel, folder, wanted):
    """Writes each file beside its place, and renames all once each is as pinned: they are there whole or not."""
    beside = {}
    with zipfile.ZipFile(wheel) as archive:
        for notice in NOTICES:
            (folder / notice).write_bytes(archive.read(f"onnxruntime/{notice}"))
        for name, digest in wanted.items():
            member = f"onnxruntime/capi/{name}" + (f".{VERSION}" if name == LIBRARY else "")
            beside[name] = folder / f"{name}.part"
            with archive.open(member) as source, open(beside[name], "wb") as target:
                shutil.copyfileobj(source, target)
            found = sha256(beside[name])
            if found != digest:
                for part in beside.values():
                    part.unlink()
                sys.exit(f"setup: {member} has sha256 {found}, expected {digest}; nothing was kept")
    for name, part in beside.items():
        os.chmod(part, 0o755)
        part.replace(folder / name)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["cuda"]):
        sys.exit(__doc__)
    machine = platform.machine()
    package = "onnxruntime-gpu" if sys.argv[2:] else "onnxruntime"
    wanted = SHA256.get((package, machine))
    if platform.system() != "Linux" or wanted is None:
        sys.exit(
            f"setup: no {package} is pinned for {platform.system()} on {machine}; "
            f"set ORT_DYLIB_PATH to a library {VERSION} of your own"
        )
    folder = pathlib.Path(sys.argv[1])
    destination = folder / LIBRARY
    if all((folder / name).is_file() and sha256(folder / name) == digest for name, digest in wanted.items()):
        return say(f"already there ({destination})")
    say(f"taking the library out of the wheel of {package}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as beside:
        place(download(package, machine, beside), folder, wanted)
    return say(f"there ({destination}, sha256 as pinned)")


if __name__ == "__main__":
    main()
