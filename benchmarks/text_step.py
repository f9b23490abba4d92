"""What evolution adds to a training step of BERT, beside its twin, at some lengths.

    python benchmarks/text_step.py [--pretrained FOLDER] [--sizes 64x32 512x4] --output steps.csv

For each size (tokens x batch) the networks take turns, so that what else the machine does hits all
alike; the medians of their CPU time are written, and their ratios to the twin's. The twin attends
through this library; ``plain`` is transformers' own BERT with PyTorch's fused attention, which
makes no map at all. Without ``--pretrained``, the network has the sizes of MiniLM: 6 layers, 384
wide, 12 heads.
"""

from argparse import ArgumentParser
from pathlib import Path

import pandas as pd
import torch
from transformers import BertConfig, BertForSequenceClassification, logging
from turns import median_seconds

from evolving_attention.models import EABertConfig, EABertForSequenceClassification

MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
EA = EABertConfig, EABertForSequenceClassification
FORMS = {
    "twin": (*EA, {"alpha": 0.0, "beta": 0.0}),
    "random": (*EA, {"alpha": 0.1, "beta": 0.1}),
    "identity": (*EA, {"alpha": 0.5, "beta": 0.5, "map_initialization": "identity"}),
    "plain": (BertConfig, BertForSequenceClassification, {"attn_implementation": "sdpa"}),
}


def make_step(form: str, pretrained: str | None, length: int, batch: int):
    """Return a function that makes one update; the last text of the batch is half padding."""
    torch.manual_seed(0)
    config_class, model_class, options = FORMS[form]
    if pretrained is None:
        config = config_class(**MINILM, **options)
        model = model_class(config).train()
    else:
        config = config_class.from_pretrained(pretrained, **options)
        model = model_class.from_pretrained(pretrained, config=config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, length // 2 :] = 0
    tokens = torch.randint(1, config.vocab_size, (batch, length)) * mask
    labels = torch.randint(2, (batch,))

    def step() -> None:
        model(tokens, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", help="a folder with a BERT; default: untrained, as MiniLM")
    parser.add_argument("--sizes", nargs="+", default=["64x32", "128x16", "512x4"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True, help="a CSV")
    options = parser.parse_args()
    logging.set_verbosity_error()
    rows = []
    for size in options.sizes:
        length, batch = map(int, size.split("x"))
        steps = {form: make_step(form, options.pretrained, length, batch) for form in FORMS}
        medians = median_seconds(steps, options.repeats)
        for form, median in medians.items():
            row = {"tokens": length, "batch": batch, "form": form, "cpu_seconds": median}
            rows.append(row | {"ratio_to_twin": median / medians["twin"]})
            print(f"{size} {form}: {median:.3f} s, {rows[-1]['ratio_to_twin']:.2f}", flush=True)
        pd.DataFrame(rows).to_csv(options.output, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
