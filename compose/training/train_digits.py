"""Trains compose/packages/digits. Run: python compose/training/train_digits.py"""

import base64
import io

import common  # first: it fixes the number of threads
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 20240917
PNG = (".png", "image/png")
JPEG = (".jpg", "image/jpeg")
NEAREST, BILINEAR, BICUBIC = (
    Image.Resampling.NEAREST,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
)


def native(values):
    """The data's 8×8 values of 0 to 16 as an 8-bit grey picture."""
    return Image.fromarray(np.round(values.reshape(8, 8) * 255 / 16).astype(np.uint8))


def enlarged(values, resampler=BICUBIC, side=32):
    return native(values).resize((side, side), resampler)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(values, resampler=BICUBIC, side=32):
    return encoded(enlarged(values, resampler, side), "JPEG", quality=90)


def ways(values):
    """Each training digit as the pictures that producers may send of it."""
    yield encoded(native(values))
    yield encoded(enlarged(values, NEAREST))
    yield encoded(enlarged(values, BILINEAR))
    yield encoded(enlarged(values, BICUBIC))
    yield jpeg(values, NEAREST)
    yield jpeg(values, BICUBIC)
    yield jpeg(values, BILINEAR, side=64)


def main():
    manifest = common.Manifest("digits")
    digits = load_digits()
    train, held, train_labels, held_labels = train_test_split(
        digits.data, digits.target, test_size=360, stratify=digits.target, random_state=SEED
    )

    rows = manifest.rows([picture for values in train for picture in ways(values)])
    labels = np.repeat(train_labels, len(rows) // len(train))
    model = MLPClassifier(
        hidden_layer_sizes=(96,), alpha=1.0, max_iter=200, batch_size=128, random_state=SEED
    )
    model.fit(rows.astype(np.float64), labels)
    common.save_model(manifest, model, columns=64)

    folder = common.held_out_dir("digits")
    common.write_held_out(
        manifest,
        model,
        folder / "requests.ndjson",
        [(encoded(native(v)), PNG[1], int(d)) for v, d in zip(held, held_labels, strict=True)],
    )
    common.write_held_out(
        manifest,
        model,
        folder / "enlarged.ndjson",
        [
            (jpeg(v), JPEG[1], int(d)) if i % 2 else (encoded(enlarged(v)), PNG[1], int(d))
            for i, (v, d) in enumerate(zip(held, held_labels, strict=True))
        ],
    )
    write_goldens(manifest, model, train, train_labels)
    write_samples(held, held_labels)


def write_goldens(manifest, model, train, labels):
    common.clear(manifest.dir / "golden")

    def clearest(digit, way):
        """A sure one whose best scores lie far apart: a hair's difference must not swap labels."""
        pictures = [way(values) for values in train[labels == digit]]
        scores = common.probabilities(model, manifest.rows(pictures))
        apart = np.diff(np.sort(scores)[:, -5:]).min(axis=1)
        return pictures[int(np.where(scores[:, digit] > 0.8, apart, 0).argmax())]

    def small(values):
        return encoded(native(values))

    def large(values):
        return encoded(enlarged(values))

    for digit in (0, 4, 7):
        picture = clearest(digit, small)
        common.write_golden(manifest, model, f"native-{digit}", picture, PNG)
    loose = common.PICTURE_TOLERANCE
    common.write_golden(manifest, model, "enlarged-3", clearest(3, large), PNG, loose)
    common.write_golden(manifest, model, "jpeg-8", clearest(8, jpeg), JPEG, loose)
    text = base64.b64encode(clearest(2, small)).decode()
    common.write_golden(manifest, model, "json-2", {"picture": text})
    common.write_golden(manifest, model, "blank", blank(), PNG)
    common.write_golden(manifest, model, "too-small", too_small(train[0]), PNG)


def blank():
    return encoded(Image.new("L", (32, 32), 12))


def too_small(values):
    return encoded(native(values).resize((4, 4), BILINEAR))


def write_samples(held, labels):
    folder = common.samples_dir("digits")
    folder.mkdir(parents=True, exist_ok=True)
    common.clear(folder)
    of = {digit: held[np.flatnonzero(labels == digit)] for digit in range(10)}
    for digit in (0, 1, 2, 3):
        (folder / f"{digit}-native.png").write_bytes(encoded(native(of[digit][0])))
    for digit in (4, 5):
        (folder / f"{digit}-enlarged.png").write_bytes(encoded(enlarged(of[digit][0])))
    for digit in (6, 7):
        (folder / f"{digit}-jpeg.jpg").write_bytes(jpeg(of[digit][0]))
    for digit in (8, 9):
        text = base64.b64encode(encoded(native(of[digit][0]))).decode()
        common.write_json(folder / f"{digit}-base64.json", {"picture": text})
    (folder / "bad-blank.png").write_bytes(blank())
    (folder / "bad-4x4.png").write_bytes(too_small(of[5][0]))
    (folder / "bad-corrupt.png").write_bytes(encoded(enlarged(of[7][1]))[:120])


if __name__ == "__main__":
    main()
