"""Variants: what they change, how they are written, what is refused."""

import pytest

from evolving_attention.comparison.variants import (
    PEERS,
    VARIANTS,
    parse_variant,
    parse_variants,
    split_variants,
)
from evolving_attention.models import (
    EADCTransformerConfig,
    EATransformerForConditionalGeneration,
)
from evolving_attention.models.huggingface.chains import CHAINS
from evolving_attention.recipe import TimeSeriesRecipe, TranslationRecipe
from evolving_attention.tasks.time_series import TimeSeriesTask
from evolving_attention.tasks.time_series_data import LabelledSeries
from evolving_attention.tasks.translation_network import make_config
from tests.models.huggingface.helpers import evolutions
from tests.small import SMALL_MODEL, one_sentence, two_classes

#: Variants in which one chain evolves, and its window.
ONE_CHAIN = {f"{chain}_chain": window for chain, window in CHAINS.items()}


def config(text, model=None):
    """The network's configuration of a variant of a small recipe."""
    recipe = parse_variant(text).apply(TimeSeriesRecipe(model=SMALL_MODEL | (model or {})))
    task = TimeSeriesTask("classification")
    task.split(LabelledSeries(*two_classes()), 0.0, 0)
    return task.build_model(recipe.model).config


class TestNamedVariants:
    @pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ONE_CHAIN])
    def test_every_one_makes_a_network_that_differs_from_the_recipes(self, name):
        assert config(name).to_dict() != config("same:model.hidden_size=8").to_dict()

    @pytest.mark.parametrize("name", ONE_CHAIN)
    def test_of_a_network_that_translates_one_chain_may_evolve(self, name):
        recipe = TranslationRecipe(model={"preset": "tiny"})
        changed = parse_variant(name).apply(recipe)
        model = EATransformerForConditionalGeneration(make_config(changed.model, vocab_size=40))
        evolving = {each.window for each in evolutions(model).values()}
        assert evolving == {ONE_CHAIN[name]}

    @pytest.mark.parametrize(
        "model",
        [
            {},
            {"learned_mixing": True},
            {
                "learned_mixing": True,
                "map_initialization": "identity",
                "map_activation": "identity",
                "alpha": 0.0,
            },
        ],
        ids=["plain", "learned", "identity"],
    )
    def test_the_twin_of_any_network_does_not_evolve(self, model):
        twin = config("twin", model)
        assert twin.is_twin
        own = EADCTransformerConfig(**SMALL_MODEL | model).twin()
        for name in ("alpha", "beta", "learned_mixing", "map_initialization"):
            assert getattr(twin, name) == getattr(own, name), name

    def test_one_half_of_evolution_leaves_the_other_as_it_was(self):
        model = {"alpha": 0.3, "beta": 0.4}
        residual, convolution = config("residual_only", model), config("convolution_only", model)
        assert (residual.alpha, residual.beta) == (0.3, 0.0)
        assert (convolution.alpha, convolution.beta) == (0.0, 0.4)

    def test_a_peer_changes_no_network(self):
        assert all(parse_variant(name).is_peer for name in PEERS)
        assert not any(parse_variant(name).is_peer for name in VARIANTS)


class TestVariantsOfOnesOwn:
    def test_values_are_yaml_and_anything_but_data_and_seed_may_change(self):
        variant = parse_variant(
            "mine: model.alpha=0.2; training.patience=null ;class_weight=balanced"
        )
        assert variant.name == "mine"
        assert variant.changes == {
            "model.alpha": 0.2,
            "training.patience": None,
            "class_weight": "balanced",
        }
        recipe = variant.apply(TimeSeriesRecipe(model={"hidden_size": 8}))
        assert recipe.model == {"hidden_size": 8, "alpha": 0.2}
        assert recipe.class_weight == "balanced"

    def test_commas_in_brackets_belong_to_a_value(self):
        texts = split_variants("twin, mine:model.a=[1, 2];model.b=[4],rocket,")
        assert texts == ["twin", "mine:model.a=[1, 2];model.b=[4]", "rocket"]
        variant = parse_variant("mine:model.depths=[1, 2]")
        assert variant.changes == {"model.depths": [1, 2]}

    def test_named_variants_may_stand_among_the_changes(self):
        changes = parse_variant("wide_twin:twin;model.hidden_size=64").changes
        assert changes == VARIANTS["twin"] | {"model.hidden_size": 64}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("sister", ["sister", "twin", "rocket"]),
            ("mine:sister", ["sister"]),
            ("mine:", ["mine", "nothing"]),
            ("twin:model.alpha=1", ["twin"]),
            ("../mine:model.alpha=1", ["../mine"]),
            ("mine:data.train=x", ["data.train", "model"]),
            ("mine:seed=3", ["seed"]),
            ("mine:model.alpha=[", ["model.alpha"]),
        ],
    )
    def test_what_is_none_is_refused_in_one_sentence(self, text, words):
        with one_sentence(*words):
            parse_variant(text).apply(TimeSeriesRecipe())

    @pytest.mark.parametrize("change", ["training.epochs=many", "training.epoch=3"])
    def test_a_change_that_does_not_fit_a_recipe_names_the_variant(self, change):
        with one_sentence("mine", "epoch"):
            parse_variant(f"mine:{change}").apply(TimeSeriesRecipe())


class TestTheList:
    def test_the_recipes_own_network_comes_first(self):
        names = [variant.name for variant in parse_variants(["twin", "rocket"], "ours")]
        assert names == ["ours", "twin", "rocket"]

    @pytest.mark.parametrize(
        ("texts", "name"),
        [(["twin", "twin"], "evolving"), (["twin"], "twin"), ([], "rocket"), ([], "a/b")],
    )
    def test_names_must_be_different_and_fit_a_folder(self, texts, name):
        with one_sentence(name if not texts else "twin"):
            parse_variants(texts, name)
