"""Small image networks, and the augmented convolution of images said once more in plain PyTorch."""

import math

import torch
import torch.nn.functional as F

from evolving_attention.models import EAAAResNetConfig, EAAAResNetForImageClassification
from tests.models.helpers import lived_in

#: Options of a network of two stages for images of 8 x 8: attention at 4 x 4 in both, one chain.
PLAIN = {"key_ratio": 0.0, "value_ratio": 0.0}


def tiny_config(**options):
    options = {"num_labels": 3, "attention_strides": [2, 1], **options}
    return EAAAResNetConfig.variant("tiny", **options)


def tiny_model(kind=EAAAResNetForImageClassification, **options):
    """A float64 model in eval mode whose every number matters."""
    return lived_in(kind(tiny_config(**options))).double().eval()


def three_stages(**options):
    """A bottleneck network with the papers' plan: chains in stages 2 and 3, and in 4."""
    small = {
        "image_size": 64,
        "embedding_size": 8,
        "depths": [1, 2, 2, 2],
        "hidden_sizes": [32, 64, 64, 64],
        "num_attention_heads": 2,
        "min_key_head_size": 3,
        "num_labels": 3,
    }
    return EAAAResNetConfig(**{**small, **options})


def images(batch=2, channels=3, height=8, width=8, dtype=torch.float64):
    return torch.randn(batch, channels, height, width, dtype=dtype)


def table_vector(table, distance, side):
    """The vector of a distance, -(side - 1) to side - 1, read off a table of any length."""
    last = len(table) - 1
    place = last / 2 if side == 1 else (distance + side - 1) / (2 * side - 2) * last
    low = min(math.floor(place), last)
    high = min(low + 1, last)
    return table[low] + (place - low) * (table[high] - table[low])


def halved(image):
    """3 x 3 means around every second pixel, over the pixels that exist."""
    channels, height, width = image.shape
    out = image.new_zeros(channels, -(-height // 2), -(-width // 2))
    for y in range(out.shape[1]):
        for x in range(out.shape[2]):
            rows = slice(max(2 * y - 1, 0), 2 * y + 2)
            columns = slice(max(2 * x - 1, 0), 2 * x + 2)
            out[:, y, x] = image[:, rows, columns].mean((1, 2))
    return out


def attend(layer, image, previous=None):
    """The attention branch of an AugmentedConv2d for one image: output and map."""
    attention = layer.attention
    for _ in range(int(math.log2(layer.stride))):
        image = halved(image)
    size = image.shape[1:]
    for _ in range(int(math.log2(layer.attention_stride))):
        image = halved(image)
    height, width = image.shape[1:]
    pixels = [(y, x) for y in range(height) for x in range(width)]
    heads, keys, values = attention.num_heads, attention.key_size, attention.value_size
    projected = attention.query_key_value(image.flatten(1).t())
    query, key, value = projected.split((keys, keys, values), dim=1)
    vertical = attention.relative_position.vertical.weight
    horizontal = attention.relative_position.horizontal.weight
    e, v = keys // heads, values // heads
    own = image.new_zeros(heads, len(pixels), len(pixels))
    for h in range(heads):
        q, k = query[:, h * e : (h + 1) * e], key[:, h * e : (h + 1) * e]
        for i, (yi, xi) in enumerate(pixels):
            for j, (yj, xj) in enumerate(pixels):
                vector = table_vector(vertical, yj - yi, height)
                vector = vector + table_vector(horizontal, xj - xi, width)
                own[h, i, j] = q[i] @ (k[j] + vector) / math.sqrt(e)
    own = evolve(attention.evolution, own, previous)
    attended = torch.cat(
        [own[h].softmax(-1) @ value[:, h * v : (h + 1) * v] for h in range(heads)], dim=1
    )
    out = attention.output(attended).t().reshape(values, height, width)
    if layer.attention_stride > 1:
        out = F.interpolate(out[None], size, mode="bilinear")[0]
    return out, own


def evolve(evolution, own, previous):
    mixed = own
    if previous is not None:
        mixed = evolution.alpha * previous + (1 - evolution.alpha) * own
    if evolution.convolution is None:
        return mixed
    kernel, bias = evolution.convolution.weight, evolution.convolution.bias
    convolved = F.relu(F.conv2d(mixed[None], kernel, bias, padding=1)[0])
    return evolution.beta * convolved + (1 - evolution.beta) * mixed
