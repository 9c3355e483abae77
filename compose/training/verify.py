"""Checks the sample packages without inferq: ONNX Runtime and the documented format in Python.

Run: python compose/training/verify.py. Exits 1 when a golden example, a schema, an accuracy or the
agreement of ONNX Runtime with scikit-learn is off.
"""

import base64
import json
import sys

import common  # first: it fixes the number of threads
import numpy as np
import onnxruntime
from jsonschema import Draft202012Validator, FormatChecker

# Least accuracy on what training never saw; `None`: reported only.
BARS = {"digits": 0.95, "diagnosis": 0.94, "fraud": None}
# Verdict → the true labels that it is right about; `uncertain` is right about none.
RIGHT = {
    "not_fraud": ["not_fraud"],
    "suspicious": ["fraud"],
    "highly_suspicious": ["fraud"],
    "uncertain": [],
}


class Package:
    def __init__(self, name):
        self.name = name
        self.faults = []
        self.manifest = common.Manifest(name)
        self.session = onnxruntime.InferenceSession(self.manifest.dir / "model.onnx")
        self.schemas = {}
        for side in ("request", "response"):
            schema = json.loads((self.manifest.dir / f"{side}.schema.json").read_text())
            Draft202012Validator.check_schema(schema)
            self.schemas[side] = Draft202012Validator(schema, format_checker=FormatChecker())

    def require(self, holds, what):
        if not holds:
            self.faults.append(what)

    def valid(self, side, value, what):
        for error in self.schemas[side].iter_errors(value):
            self.faults.append(f"{what}: {error.message}")

    def predict(self, rows):
        (scores,) = self.session.run(["probabilities"], {self.manifest.input: rows})
        self.require(scores.shape[0] == len(rows), "another number of rows came out than went in")
        return scores

    def goldens(self):
        count = 0
        for path in sorted((self.manifest.dir / "golden").glob("*.json")):
            count += 1
            golden = json.loads(path.read_text())
            if "picture" in golden:
                request = (path.parent / golden["picture"]).read_bytes()
            else:
                request = golden["request"]
                self.valid("request", request, path.name)
            try:
                found = self.manifest.outcome(self.predict(self.manifest.row(request)[None])[0])
                self.valid("response", found, path.name)
                close = same(found, golden.get("outcome"), golden.get("tolerance", 0))
                self.require(close, f"{path.name}: {found}")
            except common.Rejected as code:
                self.require(golden.get("rejection") == str(code), f"{path.name}: {code}")
        print(f"  {count} golden examples")

    def held_out(self, path, bar):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        requests = []
        for line in lines:
            if "picture" in line:
                requests.append(base64.b64decode(line["picture"]))
            else:
                requests.append(line["request"])
                self.valid("request", line["request"], path.name)
        rows = self.manifest.rows(requests)
        scores = self.predict(rows)
        alone = np.concatenate([self.predict(row[None]) for row in rows])
        expected = np.array([line["expected"]["probabilities"] for line in lines])
        apart = np.abs(scores - expected).max()
        labels = [self.manifest.label(row) for row in scores]
        equal = sum(
            label == line["expected"]["label"] for label, line in zip(labels, lines, strict=True)
        )
        right = sum(
            line["label"] in RIGHT.get(label, [label])
            for label, line in zip(labels, lines, strict=True)
        )
        unsure = labels.count("uncertain")
        accuracy = right / len(lines)
        print(
            f"  {path.name}: {len(lines)} requests, accuracy {accuracy:.4f}"
            f" (uncertain counted as wrong), {unsure} uncertain,"
            f" {right / (len(lines) - unsure):.4f} of the others;"
            f" max |Δp| to scikit-learn {apart:.1e}, labels equal {equal}/{len(lines)},"
            f" max |Δp| alone to batch {np.abs(scores - alone).max():.1e}"
        )
        self.require(apart <= common.TOLERANCE, f"{path.name}: {apart} from scikit-learn")
        self.require(equal == len(lines), f"{path.name}: labels differ from scikit-learn's")
        self.require(bar is None or accuracy >= bar, f"{path.name}: accuracy {accuracy} < {bar}")


def same(found, expected, tolerance):
    if isinstance(found, float) and isinstance(expected, float):
        return abs(found - expected) <= tolerance
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            same(found[key], expected[key], tolerance) for key in found
        )
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(
            same(one, two, tolerance) for one, two in zip(found, expected, strict=True)
        )
    return found == expected


def main():
    faults = []
    for name, bar in BARS.items():
        print(name)
        package = Package(name)
        package.goldens()
        for path in sorted(common.held_out_dir(name).glob("*.ndjson")):
            package.held_out(path, bar)
        faults += [f"{name}: {fault}" for fault in package.faults]
    print("\n".join(faults) or "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
