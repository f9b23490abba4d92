"""What ``inspect`` shows of a network that translates."""

import numpy as np
import pandas as pd
import pytest

from evolving_attention.inspection.kernels import kernels_of
from evolving_attention.inspection.translation_maps import chain_layers, maps_of_translation
from evolving_attention.runs import Run
from tests.parallel import PAIRS, write_corpus

pytest.importorskip("sacrebleu")

QUICK = [
    *("--model.preset", "tiny", "--model.d_model", 16, "--model.encoder_layers", 3),
    *("--model.decoder_layers", 2, "--processing.vocab_size", 300, "--training.epochs", 1),
    *("--training.batch_tokens", 300, "--generation.num_beams", 1),
    *("--generation.max_length_extra", 2),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    from evolving_attention.cli import main

    place = tmp_path_factory.mktemp("runs")
    corpus = write_corpus(place / "toy", train=12, val=3, test=4)
    words = ["train", "translation/multi30k", "--data.train", corpus, *QUICK]
    twin = ["--model.alpha", 0, "--model.beta", 0]
    for name, more in (("evolving", []), ("twin", twin)):
        main([str(word) for word in [*words, "--output", place / name, *more]])
    return place


def test_the_three_chains_are_drawn_with_their_tokens(runs, call, tmp_path):
    csv = tmp_path / "maps.csv"
    told = call("inspect", runs / "evolving", "--sample", 1, "--csv", csv)
    assert f"sentence 1, target {PAIRS[16][1]}, predicted " in told
    table = pd.read_csv(csv)
    run = Run.load(runs / "evolving")
    source, target = (len(run.task.processor(text)["input_ids"]) for text in PAIRS[16])
    sizes = table.groupby("chain")[["layer", "head", "query", "key"]].max()
    assert sizes.loc["encoder"].tolist() == [3, 2, source - 1, source - 1]
    assert sizes.loc["decoder"].tolist() == [2, 2, target - 1, target - 1]
    assert sizes.loc["cross"].tolist() == [2, 2, target - 1, source - 1]
    sums = table.groupby(["chain", "layer", "head", "query"])["value"].sum()
    assert sums.round(5).eq(1).all()
    ahead = table[(table["chain"] == "decoder") & (table["key"] > table["query"])]
    assert ahead["value"].eq(0).all()
    assert (runs / "evolving" / "probabilities-chains-1.png").is_file()


def test_tokens_are_read_as_they_are(runs):
    run = Run.load(runs / "evolving")
    source, target = "Die große Straßenbahn schläft.", "The large tram sleeps."
    encoder, decoder, cross = maps_of_translation(run, source, target).chains
    assert "".join(encoder.rows).replace("·", "") == source.replace(" ", "") + "end"
    assert "".join(decoder.rows) == target.replace(" ", "") + "end"
    assert decoder.columns == ["start", *decoder.rows[:-1]]
    assert (cross.rows, cross.columns) == (decoder.rows, encoder.rows)


def test_a_map_of_the_decoder_is_what_the_network_computes(runs):
    run = Run.load(runs / "evolving")
    source, target = PAIRS[0]
    decoder = maps_of_translation(run, source, target).chains[1]
    tokens = [run.task.processor(text)["input_ids"] for text in (source, target)]
    batch = run.task.collate([{"input_ids": tokens[0], "labels": tokens[1]}])
    attentions = run.model(**batch, output_attentions=True).decoder_attentions
    for layer, expected in enumerate(attentions):
        np.testing.assert_allclose(
            decoder.probabilities[layer], expected[0].detach().numpy(), atol=1e-6
        )


def test_a_sentence_without_a_translation_is_looked_at_with_the_networks_own(runs, call, tmp_path):
    path = tmp_path / "one.de"
    path.write_text(PAIRS[3][0] + "\n")
    told = call(
        *("inspect", runs / "evolving", "--input", path, "--chain", "cross", "--heads", 1),
        *("--show", "map", "--output", tmp_path / "cross.png"),
    )
    assert told.startswith("sentence 0, predicted")


@pytest.mark.parametrize("what", ["chain", "query"])
def test_the_twin_may_stand_beside(runs, call, tmp_path, what):
    csv = tmp_path / "numbers.csv"
    words = ["--what", what, "--against", runs / "twin", "--chain", "cross", "--csv", csv]
    call("inspect", runs / "evolving", *words, "--output", tmp_path / "picture.svg")
    assert set(pd.read_csv(csv)["network"]) == {"evolving", "twin"}
    assert "<!-- end -->" in (tmp_path / "picture.svg").read_text()


def test_where_one_token_looks(runs, call, tmp_path):
    csv = tmp_path / "query.csv"
    words = ["--what", "query", "--position", 2, "--csv", csv, "--output", tmp_path / "query.png"]
    told = call("inspect", runs / "evolving", *words)
    assert "where position 2" in told
    assert "(cross)" in told
    table = pd.read_csv(csv)
    assert set(table["query"]) == {2}
    assert set(table["chain"]) == {"cross"}


@pytest.mark.parametrize(("chain", "layers"), [("encoder", 3), ("decoder", 2), ("cross", 2)])
def test_kernels_are_those_of_one_chain(runs, chain, layers):
    kernels = kernels_of(chain_layers(Run.load(runs / "evolving").model, chain))
    assert [kernel.layer for kernel in kernels] == list(range(2, layers + 1))


def test_measures_are_those_of_one_chain_beside_the_twins(runs, call, tmp_path):
    csv = tmp_path / "measures.csv"
    words = ["--what", "measures", "--chain", "cross", "--samples", 2, "--against", runs / "twin"]
    call("inspect", runs / "evolving", *words, "--csv", csv, "--output", tmp_path / "picture.png")
    table = pd.read_csv(csv)
    assert set(table["sentence"]) == {0, 1}
    assert table["layer"].max() == 2
    evolving, twin = (table[table["network"] == name] for name in ("evolving", "twin"))
    assert evolving["added"].notna().any()
    assert twin["added"].isna().all()


def test_what_cannot_be_looked_at_is_told(runs, refused):
    run = runs / "evolving"
    assert "no sentence 99" in refused("inspect", run, "--sample", 99)
    assert "no position 99" in refused("inspect", run, "--what", "query", "--position", 99)
    assert "not by translations" in refused("inspect", run, "--what", "quality")
    assert "no kernels" in refused("inspect", runs / "twin", "--what", "kernels")


def test_a_report_has_it_all(runs, call):
    call("inspect", runs / "evolving", "--what", "report", "--samples", 2)
    page = (runs / "evolving" / "report.html").read_text()
    assert page.count("<h2>") == 5
    assert "Left out: the quality of maps" in page
