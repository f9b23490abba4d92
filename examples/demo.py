"""Train an EA-DC-Transformer and its twin on JapaneseVowels, compare them, and draw the maps.

JapaneseVowels: 270 utterances to train on and 370 to test, 12 channels, 7 to 29 steps, 9 speakers.
The data come with aeon; nothing is downloaded.
"""

from dataclasses import replace
from pathlib import Path

from evolving_attention import read_recipe, train
from evolving_attention.inspection import chain_of_maps, draw_chain
from evolving_attention.recipe import recipe_path

RUNS = Path("runs/demo")
recipe = read_recipe(recipe_path("time_series/japanese_vowels"))
plain = recipe.model | {"alpha": 0.0, "beta": 0.0}
networks = {
    "evolving": replace(recipe, output=str(RUNS / "evolving")),
    # The twin is the same network without evolution: alpha = beta = 0, no convolutions over maps.
    "twin": replace(recipe, output=str(RUNS / "twin"), model=plain),
}

runs = {}
for name, network in networks.items():
    print(f"training the {name} network on {recipe.data.train} ...", flush=True)
    runs[name] = train(network, progress=True, overwrite=True)

print(f"\n{'':10}{'parameters':>12}{'seconds':>9}{'epoch':>7}{'test accuracy':>15}{'log loss':>10}")
for name, run in runs.items():
    metrics, test = run.metrics, run.metrics["test"]
    print(
        f"{name:10}{metrics['parameters']:>12,}{metrics['train_seconds']:>9.0f}{metrics['epoch']:>7}"
        f"{test['accuracy']:>15.4f}{test['log_loss']:>10.4f}"
    )
print("One seed each: a difference of a few test series is noise.\n")

for name, run in runs.items():
    picture = run.folder / "probabilities.png"
    draw_chain(chain_of_maps(run, sample=3)).savefig(picture, dpi=120)
    print(f"attention of test series 3, layer by layer, {name} network: {picture}")
