"""Small networks, padded batches, and section 2 of the paper said once more in plain PyTorch."""

import math

import torch
import torch.nn.functional as F

from evolving_attention.models import EADCTransformerConfig, EADCTransformerForClassification

EXACT = {"rtol": 1e-9, "atol": 1e-11}
LENGTHS = (10, 1, 6)


def small_config(**options):
    small = {
        "input_size": 3,
        "max_length": 12,
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_blocks": 2,
        "num_attention_heads": 2,
        "branch_dropout": 0.0,
        "num_labels": 3,
    }
    return EADCTransformerConfig(**small | options)


@torch.no_grad()
def lived_in(model):
    """Draw everything that starts as 0 or 1, as if the model had been trained."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif name.endswith("norm.weight"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("bias", "running_mean", "positions")):
            tensor.normal_(std=0.5)
    return model


def small_model(kind=EADCTransformerForClassification, **options):
    """A float64 model in eval mode whose every number matters."""
    return lived_in(kind(small_config(**options))).double().eval()


def series_of(lengths=LENGTHS, channels=3, dtype=torch.float64):
    return [torch.randn(length, channels, dtype=dtype) for length in lengths]


def padded(series, steps=None, filling=0.0):
    """Series of several lengths as one batch, and which of its steps are real."""
    steps = max(map(len, series)) if steps is None else steps
    values = torch.full((len(series), steps, series[0].shape[1]), filling, dtype=series[0].dtype)
    mask = torch.zeros(len(series), steps, dtype=torch.long)
    for index, each in enumerate(series):
        values[index, : len(each)] = each
        mask[index, : len(each)] = 1
    return values, mask


def one_sentence(error):
    text = str(error.value)
    return "\n" not in text and text.endswith(".") and ". " not in text


class Restatement:
    """The EA-DC-Transformer for series without padding: lists of ``[n, d]``, one a series.

    Nothing here knows of masks: a series is as long as it is. Takes the weights of a model by name.
    """

    def __init__(self, model, training=False):
        self.options, self.training = model.config, training
        self.weights = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }
        for name, _ in model.named_parameters():
            self.weights[name].requires_grad_()

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def embed(self, x):
        patch, d = self.options.patch_size, self.options.hidden_size
        x = torch.cat([x, x.new_zeros(-len(x) % patch, x.shape[1])])
        x = torch.stack([x[start : start + patch].reshape(-1) for start in range(0, len(x), patch)])
        positions = self.weights["model.stem.positions"]
        last = len(positions) - 1
        added = torch.stack([positions[min(step, last)] for step in range(len(x))])
        return self.linear("model.stem.projection", x) * math.sqrt(d) + added

    def causal_convolution(self, name, x, dilation):
        direction, magnitude = self.weights[f"{name}.direction"], self.weights[f"{name}.magnitude"]
        length = direction.pow(2).sum((1, 2), keepdim=True).sqrt()
        kernel = magnitude * direction / length
        taps = kernel.shape[-1]
        rows = []
        for step in range(len(x)):
            row = self.weights[f"{name}.bias"]
            for tap in range(taps):
                source = step - (taps - 1 - tap) * dilation
                if source >= 0:
                    row = row + kernel[:, :, tap] @ x[source]
            rows.append(row)
        return torch.stack(rows)

    def map_convolution(self, name, mixed):
        kernel, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        n, half = mixed.shape[-1], kernel.shape[-1] // 2
        image = F.pad(mixed, (half, half, half, half))
        out = torch.zeros_like(mixed)
        for row in range(kernel.shape[2]):
            for column in range(kernel.shape[3]):
                window = image[:, row : row + n, column : column + n]
                out = out + torch.einsum("hg,gij->hij", kernel[:, :, row, column], window)
        return out if bias is None else out + bias[:, None, None]

    def attention(self, name, x, previous_map, evolves):
        options = self.options
        heads, n = options.num_attention_heads, len(x)
        dk = round(options.key_ratio * options.hidden_size)
        query, key, value = self.linear(f"{name}.query_key_value", x).tensor_split((dk, 2 * dk), 1)
        e, v = dk // heads, value.shape[1] // heads
        table = self.weights[f"{name}.relative_position.distance.weight"]
        farthest = (len(table) - 1) // 2
        logits = x.new_zeros(heads, n, n)
        for i in range(n):
            for j in range(n):
                distance = max(-farthest, min(farthest, j - i))
                vector = table[distance + farthest]
                for h in range(heads):
                    own = slice(h * e, (h + 1) * e)
                    scored = query[i, own] @ (key[j, own] + vector) / math.sqrt(e)
                    logits[h, i, j] = scored
        own_map = self.evolve(name, logits, previous_map) if evolves else logits
        outputs = []
        for h in range(heads):
            shares = own_map[h].exp() / own_map[h].exp().sum(1, keepdim=True)
            outputs.append(shares @ value[:, h * v : (h + 1) * v])
        return torch.cat(outputs, 1), own_map

    def evolve(self, name, logits, previous_map):
        options = self.options
        activation = {"relu": F.relu, "leaky_relu": F.leaky_relu, "identity": lambda x: x}
        alpha = self.weights.get(f"{name}.evolution.alpha", options.alpha)
        beta = self.weights.get(f"{name}.evolution.beta", options.beta)
        if options.normalize_maps:
            centred = previous_map - previous_map.mean(-1, keepdim=True)
            previous_map = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        mixed = alpha * previous_map + (1 - alpha) * logits
        if f"{name}.evolution.convolution.weight" not in self.weights:
            return mixed
        convolved = self.map_convolution(f"{name}.evolution.convolution", mixed)
        return beta * activation[options.map_activation](convolved) + (1 - beta) * mixed

    def augmented_convolution(self, name, x, previous_map, dilation, evolves):
        branches, own_map = [], None
        if self.options.value_ratio < 1:
            branches.append(self.causal_convolution(f"{name}.convolution", x, dilation))
        if self.options.value_ratio > 0:
            out, own_map = self.attention(f"{name}.attention", x, previous_map, evolves)
            branches.append(out)
        return torch.cat(branches, 1), own_map

    def batch_norm(self, name, batch):
        every = torch.cat(batch)
        mean, var = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        if self.training:
            batch_mean, batch_var = every.mean(0), every.var(0, correction=0)
            mean.mul_(0.9).add_(0.1 * batch_mean.detach())
            var.mul_(0.9).add_(0.1 * every.detach().var(0, correction=1))
            self.weights[f"{name}.num_batches_tracked"] += 1
            mean, var = batch_mean, batch_var
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return [(x - mean) / (var + 1e-5).sqrt() * scale + shift for x in batch]

    def feed_forward(self, name, x):
        return self.linear(f"{name}.3", F.leaky_relu(self.linear(f"{name}.0", x), 0.01))

    def block(self, index, batch, maps):
        name, options = f"model.blocks.{index}", self.options
        dilation = 2**index if options.dilated else 1
        residual = batch
        evolves = {"first": index > 0, "second": index > 0 or options.evolve_first_block}
        chain = []
        for half in ("first", "second"):
            pairs = [
                self.augmented_convolution(
                    f"{name}.{half}_convolution", x, previous, dilation, evolves[half]
                )
                for x, previous in zip(batch, maps, strict=True)
            ]
            batch, maps = ([pair[side] for pair in pairs] for side in (0, 1))
            chain.append(maps)
            batch = self.batch_norm(f"{name}.{half}_norm", batch)
            batch = [self.feed_forward(f"{name}.{half}_feed_forward", x) for x in batch]
        batch = [x + kept for x, kept in zip(batch, residual, strict=True)]
        return self.batch_norm(f"{name}.output_norm", batch), chain

    def head(self, x):
        kind = self.options.pooling
        x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        if kind == "flatten":
            positions = -(-self.options.max_length // self.options.patch_size)
            pooled = torch.cat([x.reshape(-1), x.new_zeros((positions - len(x)) * x.shape[1])])
        elif kind == "attention":
            scores = self.linear("pooling.score", x).exp()
            pooled = (scores / scores.sum() * x).sum(0)
        else:
            pooled = x.mean(0) if kind == "mean" else x.max(0).values
        return self.linear("head", pooled)

    def __call__(self, series):
        """Return the logits, and the maps of all layers, a list of ``[H, n, n]`` each."""
        batch = [self.embed(x) for x in series]
        maps, chain = [None] * len(batch), []
        for index in range(self.options.num_blocks):
            batch, added = self.block(index, batch, maps)
            chain += added
            maps = chain[-1]
        return torch.stack([self.head(x) for x in batch]), chain
