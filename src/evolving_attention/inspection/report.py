"""A report: every view of a run on one page that needs nothing else."""

from base64 import b64encode
from html import escape
from io import BytesIO

from evolving_attention.errors import InputError
from evolving_attention.inspection.views import VIEWS, View, ViewOptions, view
from evolving_attention.runs import Run

__all__ = ["report"]

#: Views that not every run has: a twin has no kernels, and not all series are labelled.
_OPTIONAL = ("kernels", "quality")

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 75rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif; }}
img {{ max-width: 100%; }}
p {{ max-width: 48rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; }}
th, td {{ padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
{sections}
</html>
"""


def report(run: Run, against: Run | None = None, options: ViewOptions | None = None) -> str:
    """Return a page of HTML with every view; pictures are inside it, scripts there are none.

    Parameters
    ----------
    run, against, options
        See :func:`~evolving_attention.inspection.views.view`. Kernels are shown of ``run`` alone.
        A view with nothing to show says so.
    """
    beside = {name: None if name == "kernels" else against for name in VIEWS}
    sections = [_section(name, run, beside[name], options) for name in VIEWS]
    title = f"{run.folder.resolve().name}: {run.recipe.kind} of {run.recipe.data.train}"
    return _PAGE.format(
        title=escape(title), about=_about(run, against), sections="\n".join(sections)
    )


def _about(run: Run, against: Run | None) -> str:
    lines = []
    for each in (run, against) if against else (run,):
        config, test = each.model.config, each.metrics.get("test") or {}
        evolution = (
            "no evolution, the twin"
            if config.is_twin
            else f"alpha {config.alpha}, beta {config.beta}"
        )
        figures = "".join(f"; test {name} {value:.4f}" for name, value in test.items())
        lines.append(
            f"<b>{escape(each.folder.resolve().name)}</b>: "
            f"{each.model.num_parameters():,} parameters, {evolution}{figures}."
        )
    return "<br>".join(lines)


def _section(name: str, run: Run, against: Run | None, options: ViewOptions | None) -> str:
    try:
        shown = view(name, run, against, options)
    except InputError as error:
        if name not in _OPTIONAL:
            raise
        return f"<h2>{name}</h2>\n<p>Left out: {escape(str(error))}</p>"
    digest = (
        ""
        if shown.digest is None
        else shown.digest.to_html(float_format="{:.3f}".format, na_rep="")
    )
    return (
        f"<h2>{name}</h2>\n<h3>{escape(shown.title)}</h3>\n<p>{escape(shown.caption)}</p>\n"
        f'<img alt="{escape(shown.title)}" src="data:image/png;base64,{_png(shown)}">\n'
        f"<div>{digest}</div>"
    )


def _png(shown: View) -> str:
    buffer = BytesIO()
    shown.figure.savefig(buffer, format="png", dpi=100)
    return b64encode(buffer.getvalue()).decode()
