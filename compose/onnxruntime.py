"""Puts the pinned ONNX Runtime library at FOLDER/libonnxruntime.so: `onnxruntime.py FOLDER`.

The library is a plain file in the wheel of the Python package. The wheel is named in full, so
that it does not matter which Python runs this; pip must be there only when the file is not.
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
MEMBER = f"onnxruntime/capi/libonnxruntime.so.{VERSION}"
# Of the library itself: it is the same file in the wheels for every version of Python.
SHA256 = {
    "x86_64": "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    "aarch64": "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
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


def download(machine, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", folder]
    command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"]
    command += ["--platform", f"manylinux_2_28_{machine}", f"onnxruntime=={VERSION}"]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(
            "setup: the wheel could not be fetched; to use a library that you have, "
            "set ORT_DYLIB_PATH to it. What was tried:\n  " + " ".join(command)
        )
    return next(pathlib.Path(folder).glob("*.whl"))


def place(wheel, destination):
    """Writes the library beside its place and renames it, so that it is there whole or not."""
    with zipfile.ZipFile(wheel) as archive:
        for notice in NOTICES:
            (destination.parent / notice).write_bytes(archive.read(f"onnxruntime/{notice}"))
        beside = destination.with_suffix(".part")
        with archive.open(MEMBER) as source, open(beside, "wb") as target:
            shutil.copyfileobj(source, target)
    os.chmod(beside, 0o755)
    return beside


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    machine = platform.machine()
    wanted = SHA256.get(machine)
    if platform.system() != "Linux" or wanted is None:
        sys.exit(
            f"setup: no ONNX Runtime is pinned for {platform.system()} on {machine}; "
            f"set ORT_DYLIB_PATH to a library {VERSION} of your own"
        )
    destination = pathlib.Path(sys.argv[1]) / "libonnxruntime.so"
    if destination.is_file() and sha256(destination) == wanted:
        return say(f"already there ({destination})")
    say("taking the library out of its wheel")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        beside = place(download(machine, folder), destination)
    found = sha256(beside)
    if found != wanted:
        beside.unlink()
        sys.exit(f"setup: {MEMBER} has sha256 {found}, expected {wanted}; nothing was kept")
    beside.replace(destination)
    return say(f"there ({destination}, sha256 as pinned)")


if __name__ == "__main__":
    main()
