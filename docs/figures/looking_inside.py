"""Draw the pictures of looking_inside.md: a small network and its twin, trained on JapaneseVowels.

Run: python docs/figures/looking_inside.py

It trains both into runs/looking_inside, about a minute, unless they are there.
"""

from dataclasses import replace
from pathlib import Path

from evolving_attention import Run, read_recipe, train
from evolving_attention.inspection import ViewOptions, view
from evolving_attention.recipe import recipe_path

RUNS = Path("runs/looking_inside")
TWIN = {"alpha": 0.0, "beta": 0.0}

recipe = read_recipe(recipe_path("time_series/japanese_vowels"))
recipe = replace(
    recipe,
    model=recipe.model | {"hidden_size": 64},
    training=replace(recipe.training, epochs=20),
)


def network(name: str, **evolution: float) -> Run:
    folder = RUNS / name
    if (folder / "model.safetensors").is_file():
        return Run.load(folder)
    return train(replace(recipe, output=str(folder), model=recipe.model | evolution), progress=True)


evolving, twin = network("evolving"), network("twin", **TWIN)
pictures = {
    "chain": (twin, ViewOptions(sample=3, heads=1), 90),
    "measures": (twin, ViewOptions(), 75),
    "kernels": (None, ViewOptions(), 70),
    "quality": (twin, ViewOptions(), 90),
}
for name, (against, options, dpi) in pictures.items():
    shown = view(name, evolving, against, options)
    path = Path(__file__).with_name(f"looking_inside_{name}.png")
    shown.figure.savefig(path, dpi=dpi)
    print(f"{shown.title}: {path.name}, {path.stat().st_size / 1000:.0f} kB")
    if shown.digest is not None:
        print(shown.digest.to_string(float_format="{:.3f}".format, na_rep=""))
