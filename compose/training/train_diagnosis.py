"""Trains compose/packages/diagnosis. Run: python compose/training/train_diagnosis.py"""

import json

import common  # first: it fixes the number of threads
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 20240917
LABELS = ["benign", "malignant"]


def requests(data, names):
    """The data's 30 columns, `mean radius` … `worst fractal dimension`, as business objects."""
    for number, values in enumerate(data, start=1):
        request = {"sample_id": f"wdbc-{number:03}", "mean": {}, "error": {}, "worst": {}}
        for name, value in zip(names, values, strict=True):
            group = next(g for g in ("mean", "error", "worst") if g in name.split())
            measurement = " ".join(w for w in name.split() if w != group).replace(" ", "_")
            request[group][measurement] = float(value)
        yield request


def main():
    manifest = common.Manifest("diagnosis")
    cancer = load_breast_cancer()
    everything = list(requests(cancer.data, cancer.feature_names))
    malignant = 1 - cancer.target  # the data has 0 for malignant
    train, held = train_test_split(
        np.arange(len(everything)), test_size=0.4, stratify=malignant, random_state=SEED
    )

    rows = manifest.rows([everything[i] for i in train]).astype(np.float64)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=5000))
    model.fit(rows, malignant[train])
    common.save_model(manifest, model, columns=30)

    common.write_held_out(
        manifest,
        model,
        common.held_out_dir("diagnosis") / "requests.ndjson",
        [(everything[i], None, LABELS[malignant[i]]) for i in held],
    )
    write_goldens(manifest, model, [everything[i] for i in train])
    write_samples(manifest, model, [everything[i] for i in held], malignant[held])


def write_goldens(manifest, model, requests):
    common.clear(manifest.dir / "golden")
    scores = common.probabilities(model, manifest.rows(requests))[:, 1]
    order = np.argsort(scores)
    unsure = order[np.argmin(np.abs(scores[order] - 0.5))]
    picked = {
        "clearly-benign": order[0],
        "benign": order[np.searchsorted(scores[order], 0.25)],
        "uncertain": unsure,
        "malignant": order[np.searchsorted(scores[order], 0.8)],
        "clearly-malignant": order[-1],
    }
    for name, index in picked.items():
        common.write_golden(manifest, model, name, requests[index])


def write_samples(manifest, model, held, malignant):
    folder = common.samples_dir("diagnosis")
    folder.mkdir(parents=True, exist_ok=True)
    common.clear(folder)
    for label in (0, 1):
        for number, index in enumerate(np.flatnonzero(malignant == label)[:4], start=1):
            common.write_json(folder / f"{LABELS[label]}-{number}.json", held[index])
    scores = common.probabilities(model, manifest.rows(held))[:, 1]
    common.write_json(folder / "borderline.json", held[int(np.argmin(np.abs(scores - 0.5)))])

    (folder / "bad-truncated.json").write_text(json.dumps(held[0])[:400])
    missing = json.loads(json.dumps(held[1]))
    del missing["worst"]["concave_points"]
    common.write_json(folder / "bad-missing-field.json", missing)
    text = json.loads(json.dumps(held[2]))
    text["mean"]["radius"] = str(text["mean"]["radius"])
    common.write_json(folder / "bad-number-as-text.json", text)


if __name__ == "__main__":
    main()
