"""The network of an image recipe: its variant and options, and what it starts from."""

from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from evolving_attention.errors import InputError, reading, reason
from evolving_attention.models.ea_aa_resnet import (
    EAAAResNetConfig,
    EAAAResNetForImageClassification,
)
from evolving_attention.models.ea_aa_resnet_config import VARIANTS
from evolving_attention.models.plain_resnet_weights import PlainWeightsReport, load_plain_weights
from evolving_attention.tasks.networks import unknown_option
from evolving_attention.training import quiet

__all__ = ["check_model_options", "image_config", "model_options", "start_from", "variant_for"]

#: Options of the model that a recipe may set; the others follow from the data.
_MODEL_OPTIONS = tuple(
    name
    for name in EAAAResNetConfig.__annotations__
    if name not in ("num_channels", "image_size", "class_weights")
)

_OF_A_VARIANT = {name for options in VARIANTS.values() for name in options}


def check_model_options(options: dict[str, Any]) -> None:
    """Raise :class:`InputError` for an option, or a variant, that the model does not have."""
    names = ("variant", *_MODEL_OPTIONS)
    for name in options:
        if name not in names:
            raise unknown_option(name, names)
    variant = options.get("variant", "auto")
    if str(variant) not in ("auto", *VARIANTS):
        raise InputError(
            f"model.variant must be one of 'auto', {', '.join(map(repr, VARIANTS))}, got "
            f"{variant!r}."
        )


def model_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return every option of a model as a recipe has it, those of its variant written out.

    Of ``variant: auto``, what the variants differ in is known only together with the data.
    """
    check_model_options(options)
    variant = str(options.get("variant", "auto"))
    if variant != "auto":
        config = _config(variant, options)
        return {"variant": variant, **{name: getattr(config, name) for name in _MODEL_OPTIONS}}
    alike = EAAAResNetConfig()
    common = {name: getattr(alike, name) for name in _MODEL_OPTIONS if name not in _OF_A_VARIANT}
    return {"variant": "auto", **common, **options}


def image_config(options: dict[str, Any], size: list[int], **outputs: Any) -> EAAAResNetConfig:
    """Return the configuration for images of a size.

    Parameters
    ----------
    options : dict
        Of the recipe; ``variant`` may be ``"auto"``, the default: ``"tiny"`` up to 16 pixels,
        ``"cifar"`` up to 96, ``"50"`` above.
    size : list of int
        Height and width.
    **outputs
        What else follows from the data, such as the classes.
    """
    check_model_options(options)
    return _config(variant_for(options, size), options, image_size=size, **outputs)


def variant_for(options: dict[str, Any], size: list[int]) -> str:
    """Return the name of the network that a recipe's options ask for, for images of a size."""
    variant, side = str(options.get("variant", "auto")), max(size)
    if variant != "auto":
        return variant
    return "tiny" if side <= 16 else "cifar" if side <= 96 else "50"


def _config(variant: str, options: dict[str, Any], **others: Any) -> EAAAResNetConfig:
    given = {name: value for name, value in options.items() if name != "variant"}
    try:
        return EAAAResNetConfig.variant(variant, **given, **others)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise InputError(f"the model's options do not work: {reason(error)}.") from error


def start_from(model: EAAAResNetForImageClassification, source: str) -> PlainWeightsReport:
    """Give a network the weights of a run, or of a plain ResNet, as far as they fit.

    Of another EA-AA-ResNet everything but the classifier has to fit.

    Raises
    ------
    InputError
        There are no such weights, or they are those of another network.
    """
    path = Path(source)
    file = path / "model.safetensors" if path.is_dir() else path
    is_ours = False
    if path.is_dir() and (path / "config.json").is_file():
        with reading(path / "config.json"):
            settings, _ = EAAAResNetConfig.get_config_dict(path)  # timm's have no type of model
        is_ours = settings.get("model_type") == EAAAResNetConfig.model_type
    if is_ours:
        with reading(file), quiet():
            weights: Any = EAAAResNetForImageClassification.from_pretrained(
                path, image_size=model.config.image_size
            )
    else:
        weights = file
    with reading(file):
        report = load_plain_weights(model, weights)
    missing = [name for name in report.left if not name.startswith("classifier.")]
    if is_ours and (missing or report.partly):
        name = (missing or [*report.partly])[0]
        raise InputError(
            f"the network in {source} is another, {name} does not fit: give the model the options "
            "that it was trained with."
        )
    return report
