"""Tables of results that are written down, not trained."""

import json

import pandas as pd

from evolving_attention.comparison.results import COLUMNS


def table(*rows, kind="classification", metric="accuracy"):
    """Results from rows (data, variant, seed, score)."""
    results = pd.DataFrame(
        [
            {"data": data, "kind": kind, "variant": variant, "seed": seed, metric: score}
            for data, variant, seed, score in rows
        ]
    ).assign(train_seconds=1.0, parameters=10.0, status="finished", message="")
    return results.reindex(columns=list(COLUMNS))


def write_comparison(folder, results, **settings):
    """A comparison's folder with these results in it."""
    for row in results.to_dict("records"):
        run = folder / "runs" / row["data"] / row["variant"] / f"seed-{row['seed']}"
        run.mkdir(parents=True)
        message = row.pop("message")
        text = json.dumps({"row": row, "message": message, "asked": {}})
        (run / "result.json").write_text(text)
    settings = {"commands": ["made"], "settings": {}} | settings
    (folder / "comparison.json").write_text(json.dumps(settings))
    return folder
