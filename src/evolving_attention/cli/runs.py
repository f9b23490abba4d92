"""The commands that take a run: evaluate, predict, embed and inspect."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from evolving_attention.cli.lines import add_generation, generation_changes, write_lines
from evolving_attention.cli.parser import Parser, check_folder, run_parser
from evolving_attention.errors import InputError

if TYPE_CHECKING:
    from evolving_attention.runs import Run

__all__ = [
    "embed_parser",
    "evaluate_parser",
    "inspect_parser",
    "predict_parser",
    "print_metrics",
    "run_embed",
    "run_evaluate",
    "run_inspect",
    "run_predict",
]


def evaluate_parser() -> Parser:
    """Return the parser of ``evaluate``."""
    parser = run_parser("Measure a run on its recipe's test part, or on a labelled file.")
    parser.add_argument(
        "--input",
        type=str | None,
        default=None,
        help="a labelled file of series; of translation, one of two files or a .tsv",
    )
    add_generation(parser)
    return parser


def run_evaluate(options: Namespace) -> None:
    """Measure a run."""
    from evolving_attention.runs import Run

    run = Run.load(options.run, generation_changes(options))
    print_metrics(run, options.input or "test", run.evaluate(options.input))


def print_metrics(run: "Run", part: str, metrics: dict[str, float]) -> None:
    """Print the metrics of a part of the data."""
    for line in run.family.metric_lines(part, metrics, run.task):
        print(line)


def predict_parser() -> Parser:
    """Return the parser of ``predict``."""
    parser = run_parser("Predict every input of a file, or what the data's benchmark wants.")
    parser.add_argument(
        "input",
        type=str | None,
        nargs="?",
        default=None,
        help="a file of series (.ts, .arff, .tsv, .npz) or of sentences (.tsv); default, for GLUE: "
        "the task's test files; for translation, a text file, plain or .gz, or, by default, "
        "standard input",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="a CSV file, of sentences also a .tsv as GLUE's server takes it; default: print; "
        "without a file to predict, a folder, 'submission' in the run's by default; of "
        "translation, a text file, line for line",
    )
    add_generation(parser)
    return parser


def run_predict(options: Namespace) -> None:
    """Predict a file, or what a benchmark wants."""
    from evolving_attention.runs import Run

    check_folder(options.output)
    run = Run.load(options.run, generation_changes(options))
    if run.family.writes_lines:
        write_lines(run, options.input, options.output)
        return
    if options.input is None:
        for path in run.submit(options.output):
            print(f"for the benchmark: {path}")
        return
    table = run.predict(options.input)
    if options.output is None:
        table.to_csv(sys.stdout, index_label="case")
        return
    run.family.write_predictions(run.recipe, table, Path(options.output))
    print(f"{len(table)} predictions: {options.output}")


def embed_parser() -> Parser:
    """Return the parser of ``embed``."""
    parser = run_parser("Write a vector for every series: of any run, pretrained or supervised.")
    parser.add_argument(
        "input", type=str | None, nargs="?", default=None, help="a file; default: the test part"
    )
    parser.add_argument(
        "--output", type=str | None, default=None, help="default: vectors.npz in the run folder"
    )
    parser.add_argument(
        "--picture", type=str | None, default=None, help="where to draw the vectors, on a plane"
    )
    parser.add_argument(
        "--projection",
        choices=("pca", "tsne"),
        default="pca",
        help="how to draw them: two principal components, or t-SNE",
    )
    return parser


def run_embed(options: Namespace) -> None:
    """Write, and draw, a vector for every series."""
    import numpy as np

    from evolving_attention.inspection import draw_embedding
    from evolving_attention.inspection.style import check_picture, save_picture
    from evolving_attention.runs import Run

    for path in (options.output, options.picture):
        check_folder(path)
    output = Path(options.output or Path(options.run) / "vectors.npz")
    if output.suffix != ".npz":
        raise InputError(f"vectors are written as .npz, which {str(output)!r} does not end in.")
    if options.picture:
        check_picture(Path(options.picture))
    run = Run.load(options.run)
    vectors, labels = run.embed(options.input)
    arrays = {"vectors": vectors}
    if labels is not None:  # as text or numbers: an array of objects would be a pickle
        arrays["labels"] = np.array(labels.tolist())
    np.savez_compressed(output, **arrays)  # type: ignore[arg-type]
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {output}")
    if options.picture:
        figure = draw_embedding(
            vectors,
            labels,
            by_value=True if run.recipe.kind == "regression" else None,
            projection=options.projection,
            title=f"{Path(options.input or 'test part').name}, embedded by {run.folder.name}",
        )
        save_picture(figure, Path(options.picture))
        print(f"picture: {options.picture}")


def inspect_parser() -> Parser:
    """Return the parser of ``inspect``."""
    parser = run_parser("Look into a network: pictures of its maps, measures, and their numbers.")
    parser.add_argument(
        "--what",
        choices=("chain", "query", "measures", "kernels", "quality", "report"),
        default="chain",
        help="the maps of a series; where one of its positions looks; measures of many series, "
        "layer by layer; the convolutions; how well maps alone predict; or all of it on a page",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        default=None,
        help="another run to put beside it, such as its twin",
    )
    parser.add_argument("--sample", type=int, default=0, help="number of the series, from 0")
    parser.add_argument(
        "--position", type=int | None, default=None, help="of the query, from 0; default: middle"
    )
    parser.add_argument(
        "--pixel",
        type=str | None,
        default=None,
        help="of an image, the query as ROW,COLUMN, from 0; default: middle",
    )
    parser.add_argument(
        "--samples",
        type=int | None,
        default=None,
        help="how many series: default 64 for measures, at most 512 for quality",
    )
    parser.add_argument(
        "--input", type=str | None, default=None, help="a file of series; default: the test part"
    )
    parser.add_argument(
        "--show",
        choices=("probabilities", "map"),
        default="probabilities",
        help="chain and quality: after or before the softmax",
    )
    parser.add_argument(
        "--heads",
        type=int | None,
        default=None,
        help="of a chain, how many; default: all; of translation: their mean alone",
    )
    parser.add_argument(
        "--chain",
        choices=("encoder", "decoder", "cross"),
        default=None,
        help="of translation, which; default: all three; query: cross; measures, kernels: encoder",
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="a picture (.png, .svg, .pdf; a report: .html); default: in the run folder",
    )
    parser.add_argument(
        "--csv", type=str | None, default=None, help="a file for the numbers of the picture"
    )
    return parser


def run_inspect(options: Namespace) -> None:
    """Look into a run's maps."""
    from evolving_attention.inspection.report import report
    from evolving_attention.inspection.style import check_picture, save_picture
    from evolving_attention.inspection.views import ViewOptions, view
    from evolving_attention.runs import Run

    for path in (options.output, options.csv):
        check_folder(path)
    run = Run.load(options.run)
    against = Run.load(options.against) if options.against else None
    look = ViewOptions(**{name: options[name] for name in ViewOptions.__dataclass_fields__})
    if options.what == "report":
        if options.csv:
            raise InputError("a report has no CSV; say --what measures, kernels or quality.")
        output = Path(options.output or run.folder / "report.html")
        if output.suffix != ".html":
            raise InputError(f"{str(output)!r} is no page; its name must end in html.")
        output.write_text(report(run, against, look), encoding="utf-8")
        print(f"report: {output}")
        return
    if options.output:
        check_picture(Path(options.output))
    shown = view(options.what, run, against, look)
    output = Path(options.output or run.folder / f"{shown.stem}.png")
    save_picture(shown.figure, output)
    if options.csv:
        shown.numbers.to_csv(options.csv, index=False)
    if shown.digest is not None:
        print(shown.digest.to_string(float_format="{:.3f}".format, na_rep=""))
    print(f"{shown.title}: {output}")
