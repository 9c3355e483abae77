"""What the training scripts share: a manifest read as documented, and the files of a package.

`Manifest.row` and `Manifest.outcome` follow the documented package format, not inferq's code: they
make the rows to train on and the expectations in golden/, and so an independent check of the
worker. Only what the three packages use is here.
"""

import base64
import io
import json
import math
import os
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

# One thread sums in one order, so that a second run gives the same bits. Must precede numpy.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.0.0"
TOLERANCE = 1e-4
# Another JPEG decoder, or another antialiased bilinear filter, may differ by 1 in 255 per pixel.
PICTURE_TOLERANCE = 0.02


class Rejected(Exception):
    """The package says no; its text is the code."""


def package_dir(name):
    return ROOT / "compose" / "packages" / name / VERSION


def held_out_dir(name):
    return ROOT / "tests" / "held_out" / name


def samples_dir(name):
    return ROOT / "compose" / "samples" / name


class Manifest:
    def __init__(self, name):
        self.dir = package_dir(name)
        self.spec = tomllib.loads((self.dir / "package.toml").read_text())
        ((self.input, self.how),) = self.spec["input"].items()

    def row(self, request):
        """A business object (a dict, or the bytes of a picture) as the model's float32 row."""
        if "image" in self.how:
            return _image_row(self.how["image"], request)
        values = [v for column in self.how["columns"] for v in _column(column, request)]
        return np.array(values, dtype=np.float64).astype(np.float32)

    def rows(self, requests):
        return np.stack([self.row(request) for request in requests])

    def outcome(self, probabilities):
        """One row of scores as the business outcome."""
        result = {}
        for field, kinds in self.spec["outcome"].items():
            ((kind, spec),) = kinds.items()
            result |= {"class": _class, "top_k": _top_k}[kind](field, spec, probabilities)
        return result

    def label(self, probabilities):
        """The outcome's first field: what the package says in one word."""
        return next(iter(self.outcome(probabilities).values()))


def at(request, pointer):
    value = request
    for part in pointer.split("/")[1:]:
        value = value[part]
    return value


def _column(column, request):
    value = at(request, column["pointer"])
    if "categories" in column:
        assert column["encode"] == "one_hot" and column["unknown"] == "zero"
        return [float(value == known) for known in column["categories"]]
    transform = column.get("transform")
    match transform:
        case None:
            return [value]
        case "log1p":
            return [math.log1p(value)]
        case "hour":
            return [_utc(value).hour]
        case "weekday":
            return [_utc(value).weekday()]
        case {"same_as": {"other": other}}:
            return [float(value == at(request, other))]
        case {"same_network": {"other": other, "prefix": prefix}}:
            return [_same_network(value, at(request, other), prefix)]
    raise NotImplementedError(transform)


def _utc(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def _same_network(one, two, prefix):
    one, two = ip_address(one), ip_address(two)
    if one.version != two.version:
        return 0.0
    shift = one.max_prefixlen - prefix
    return float(int(one) >> shift == int(two) >> shift)


def _image_row(spec, request):
    if isinstance(request, dict):
        request = base64.b64decode(at(request, spec["pointer"]), validate=True)
    picture = Image.open(io.BytesIO(request))
    small = spec["too_small"]
    if picture.width < small["width"] or picture.height < small["height"]:
        raise Rejected(f"package:{small['code']}")
    assert spec["color"] == "grey" and spec["resampler"] == "bilinear" and spec["layout"] == "flat"
    size = (spec["width"], spec["height"])
    pixels = np.asarray(picture.convert("L").resize(size, Image.Resampling.BILINEAR))
    if int(pixels.max()) - int(pixels.min()) < spec["blank"]["spread"]:
        raise Rejected(f"package:{spec['blank']['code']}")
    scaled = pixels.astype(np.float32) * np.float32(spec["scale"])
    mean, std = (np.float32(spec[key][0]) for key in ("mean", "std"))
    return ((scaled - mean) / std).reshape(-1)


def _class(field, spec, scores):
    if "thresholds" in spec:
        score = float(scores[spec["index"]])
        label = [t["label"] for t in spec["thresholds"] if score >= t["from"]][-1]
        unsure = (
            "uncertain" in spec and spec["uncertain"]["from"] <= score < spec["uncertain"]["to"]
        )
    else:
        best = int(np.argmax(scores))
        score, label = float(scores[best]), spec["labels"][best]
        unsure = "uncertain" in spec and score < spec["uncertain"]["below"]
    return {field: spec["uncertain"]["label"] if unsure else label, spec["score_field"]: score}


def _top_k(field, spec, scores):
    order = np.argsort(-np.asarray(scores), kind="stable")[spec["skip"] : spec["skip"] + spec["k"]]
    return {field: [{"label": spec["labels"][i], "score": float(scores[i])} for i in order]}


def save_model(manifest, model, columns):
    """Writes model.onnx: one float32 input [N, columns], probabilities as a plain tensor."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    graph = to_onnx(
        model,
        name=manifest.spec["name"],
        initial_types=[(manifest.input, FloatTensorType([None, columns]))],
        options={"zipmap": False},
        # ONNX Runtime 1.17 and later load these.
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    graph.ir_version = 8
    # skl2onnx lists domains in any order, and some twice.
    opsets = {opset.domain: opset.version for opset in graph.opset_import}
    del graph.opset_import[:]
    for domain in sorted(opsets):
        graph.opset_import.add(domain=domain, version=opsets[domain])
    (manifest.dir / "model.onnx").write_bytes(graph.SerializeToString())


def probabilities(model, rows):
    """scikit-learn's own prediction, in float64, on the worker's float32 rows."""
    return model.predict_proba(np.asarray(rows, dtype=np.float64))


def rounded(value):
    """Six decimals everywhere: what a person reads in a golden file, far inside its tolerance."""
    match value:
        case float():
            return round(value, 6)
        case list():
            return [rounded(v) for v in value]
        case dict():
            return {k: rounded(v) for k, v in value.items()}
    return value


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_golden(manifest, model, name, request, picture=None, tolerance=TOLERANCE):
    """One golden example; a `request` of bytes needs `picture`: its suffix and content type."""
    golden = {"request": request}
    if picture:
        suffix, content_type = picture
        file = manifest.dir / "golden" / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(request)
        golden = {"picture": file.name, "content_type": content_type}
    try:
        scores = probabilities(model, [manifest.row(request)])[0]
        golden |= {"outcome": rounded(manifest.outcome(scores)), "tolerance": tolerance}
    except Rejected as rejected:
        golden["rejection"] = str(rejected)
    write_json(manifest.dir / "golden" / f"{name}.json", golden)


def write_held_out(manifest, model, path, examples):
    """One line for each (request, content type or None, true label)."""
    lines = []
    for request, content_type, label in examples:
        scores = probabilities(model, [manifest.row(request)])[0]
        line = {"request": request}
        if content_type:
            text = base64.b64encode(request).decode()
            line = {"picture": text, "content_type": content_type}
        expected = {
            "label": manifest.label(scores),
            "probabilities": [round(p, 9) for p in scores.tolist()],
        }
        lines.append(json.dumps(line | {"label": label, "expected": expected}) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def clear(*folders):
    """Removes the files of an earlier run."""
    for folder in folders:
        for file in folder.glob("*"):
            file.unlink()
