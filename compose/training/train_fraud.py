"""Generates payments and trains compose/packages/fraud. Run: python compose/training/train_fraud.py

Nothing here was observed: who pays whom, when, how much, and which payments are fraud all come from
the random numbers below. Accounts are invented, addresses are from private networks.
"""

import json
from datetime import UTC, datetime, timedelta, timezone

import common  # first: it fixes the number of threads
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

SEED = 20240917
LABELS = ["not_fraud", "fraud"]
# Share of payers, currency, offset from UTC in hours, second octet of the country's two networks.
COUNTRIES = {
    "DE": (0.30, "EUR", 1, (10, 11)),
    "FR": (0.22, "EUR", 1, (20, 21)),
    "GB": (0.16, "GBP", 0, (30, 31)),
    "US": (0.14, "USD", -5, (40, 41)),
    "PL": (0.10, "PLN", 1, (50, 51)),
    "CH": (0.05, "CHF", 1, (60, 61)),
    "JP": (0.03, "JPY", 9, (70, 71)),
}
UNITS = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "PLN": 4.3, "CHF": 0.95, "JPY": 160.0}


def party(rng, country):
    octets = (10, rng.choice(COUNTRIES[country][3]), rng.integers(256), rng.integers(1, 255))
    return {
        "account": f"{country}{rng.integers(10**11):011}",
        "ip": ".".join(str(o) for o in octets),
        "country": country,
    }


def payment(rng, number):
    """One payment, and whether it is fraud."""
    shares = np.array([c[0] for c in COUNTRIES.values()])
    home = str(rng.choice(list(COUNTRIES), p=shares))
    currency, offset = COUNTRIES[home][1:3]
    fraud = rng.random() < 0.3
    # Fraud leans to the night, abroad, other currencies, large sums, one network for both sides.
    euros = rng.lognormal(6.6, 1.2) if fraud else rng.lognormal(4.0, 1.1)
    hour = rng.integers(0, 6) if rng.random() < (0.55 if fraud else 0.07) else rng.integers(6, 24)
    abroad = rng.random() < (0.7 if fraud else 0.15)
    shared = rng.random() < (0.45 if fraud else 0.04)
    exotic = rng.random() < (0.35 if fraud else 0.05)
    own = rng.random() < (0.0 if fraud else 0.05)

    sender = party(rng, home)
    other = str(rng.choice([c for c in COUNTRIES if c != home])) if abroad else home
    receiver = party(rng, other)
    if shared:
        network = sender["ip"].split(".")[:2]
        receiver["ip"] = ".".join(network + receiver["ip"].split(".")[2:])
        if rng.random() < 0.3:
            receiver["ip"] = sender["ip"]
    if own:
        receiver = dict(sender)
    if exotic:
        currency = str(rng.choice([c for c in UNITS if c != currency]))

    day = datetime(2024, 1, 1) + timedelta(days=int(rng.integers(366)))
    moment = day + timedelta(hours=int(hour), seconds=int(rng.integers(3600)))
    zone = timezone(timedelta(hours=offset))
    local = moment.replace(tzinfo=UTC).astimezone(zone)
    time = local.isoformat() if offset else moment.isoformat() + "Z"
    request = {
        "transaction_id": f"tx-{number:06}",
        "amount": round(max(euros * UNITS[currency], 0.01), 2),
        "currency": currency,
        "time": time,
        "sender": sender,
        "receiver": receiver,
    }
    return request, int(fraud)


def payments(seed, count, first):
    rng = np.random.default_rng(seed)
    made = [payment(rng, first + number) for number in range(count)]
    return [request for request, _ in made], np.array([fraud for _, fraud in made])


def main():
    manifest = common.Manifest("fraud")
    train, labels = payments(SEED, 8000, first=1)
    held, held_labels = payments(SEED + 1, 400, first=900001)

    model = GradientBoostingClassifier(
        n_estimators=80, max_depth=3, learning_rate=0.15, random_state=SEED
    )
    rows = manifest.rows(train)
    # Two decimals of log1p(amount): no split where the last bit of a float32 would decide.
    rows[:, 0] = rows[:, 0].round(2)
    model.fit(rows.astype(np.float64), labels)
    common.save_model(manifest, model, columns=rows.shape[1])

    common.write_held_out(
        manifest,
        model,
        common.held_out_dir("fraud") / "requests.ndjson",
        [(request, None, LABELS[fraud]) for request, fraud in zip(held, held_labels, strict=True)],
    )
    write_goldens(manifest, model, train)
    write_samples(manifest, model, held)


def write_goldens(manifest, model, requests):
    common.clear(manifest.dir / "golden")
    scores = common.probabilities(model, manifest.rows(requests))[:, 1]
    wanted = {"not-fraud": 0.05, "uncertain": 0.5, "suspicious": 0.75, "highly-suspicious": 0.97}
    for name, score in wanted.items():
        request = requests[int(np.argmin(np.abs(scores - score)))]
        common.write_golden(manifest, model, name, request)
    base = requests[int(np.argmin(np.abs(scores - wanted["not-fraud"])))]
    common.write_golden(manifest, model, "unknown-currency", base | {"currency": "SEK"})
    # 01:30 on a Monday in Warsaw is still Sunday in UTC.
    common.write_golden(
        manifest, model, "sunday-in-utc", base | {"time": "2024-07-15T01:30:00+02:00"}
    )
    common.write_golden(manifest, model, "own-account", base | {"receiver": base["sender"]})


def write_samples(manifest, model, held):
    folder = common.samples_dir("fraud")
    folder.mkdir(parents=True, exist_ok=True)
    common.clear(folder)
    verdicts = [manifest.label(p) for p in common.probabilities(model, manifest.rows(held))]
    for verdict, count in (
        ("not_fraud", 4),
        ("uncertain", 1),
        ("suspicious", 2),
        ("highly_suspicious", 2),
    ):
        chosen = [request for request, v in zip(held, verdicts, strict=True) if v == verdict][
            :count
        ]
        for number, request in enumerate(chosen, start=1):
            name = verdict.replace("_", "-")
            common.write_json(folder / f"{name}-{number}.json", request)

    (folder / "bad-truncated.json").write_text(json.dumps(held[0])[:150])
    missing = {key: value for key, value in held[1].items() if key != "receiver"}
    common.write_json(folder / "bad-missing-field.json", missing)
    common.write_json(folder / "bad-negative-amount.json", held[2] | {"amount": -held[2]["amount"]})


if __name__ == "__main__":
    main()
