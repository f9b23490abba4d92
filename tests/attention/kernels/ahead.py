"""Compiles the Triton kernels for an H100, on any machine, and prints what each needs.

``python -m tests.attention.kernels.ahead '{"H": 12, "convolved": true}'`` prints a line of JSON for
each kernel: shared memory, registers, bytes spilled, matrix instructions. The launches are those of
the package, with tensors that have no memory; where one would run, its kernel is compiled instead.
"""

import json
import re
import subprocess
import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from evolving_attention.attention.kernels.triton import (
    arguments,
    attention,
    attention_gradient,
    convolution,
    convolution_gradient,
    launch,
)

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
}
ALIGNED = [["tt.divisibility", 16]]


class Ahead:
    """Stands where a kernel stands, and compiles it when it is launched."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.compile

    def compile(self, *positional, num_warps=4, num_stages=3, maxnreg=None, **named):
        named |= dict(zip(self.kernel.arg_names, positional, strict=False))
        assert named.keys() == set(self.kernel.arg_names)
        signature, self.constants, self.attributes = {}, {}, {}
        for index, parameter in enumerate(self.kernel.params):
            value = named[parameter.name]
            if parameter.is_constexpr:
                self.constants[(index,)] = value
                signature[parameter.name] = "constexpr"
            else:
                signature[parameter.name] = self.described(value, (index,))
        source = ASTSource(self.kernel, signature, self.constants, self.attributes)
        options = {"num_warps": num_warps, "num_stages": num_stages, "maxnreg": maxnreg}
        self.report(triton.compile(source, target=TARGET, options=options), maxnreg)

    def described(self, value, path):
        """Return the type of an argument as a launch would find it."""
        if isinstance(value, tuple):
            return tuple(self.described(each, (*path, i)) for i, each in enumerate(value))
        if isinstance(value, torch.Tensor):
            self.attributes[path] = ALIGNED
            return "*" + TYPES[value.dtype]
        if isinstance(value, float):
            return "fp32"
        if value is None or value == 1:
            self.constants[path] = value
            return "constexpr"
        if value % 16 == 0:
            self.attributes[path] = ALIGNED
        return "i32"

    def report(self, compiled, maxnreg):
        ptx = compiled.asm["ptx"]
        with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
            file.write(ptx)
            file.flush()
            command = [triton.knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", file.name]
            command += ["-o", "/dev/null"] + [f"--maxrregcount={maxnreg}"] * bool(maxnreg)
            told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        needs = {
            "kernel": self.kernel.__name__,
            "shared": compiled.metadata.shared,
            "registers": int(re.search(r"Used (\d+) registers", told)[1]),
            "spilled": int(re.search(r"(\d+) bytes spill stores", told)[1]),
            "matrix instructions": len(re.findall(r"mma\.(?:sync|async|mma_async)", ptx)),
        }
        print(json.dumps(needs), flush=True)


def compile_layer(H=12, N=1024, E=64, K=3, dtype="bfloat16", convolved=True, masked=True):
    """Compile the forward and backward pass of a layer that has everything."""
    for module in (attention, attention_gradient, convolution, convolution_gradient):
        for name, value in list(vars(module).items()):
            if name.endswith("_kernel"):
                setattr(module, name, Ahead(value))

    own = getattr(torch, dtype)

    def empty(*shape, dtype=own):
        return torch.empty(shape, dtype=dtype, device="meta")

    B = 8
    query, key, value = (empty(B, N, H, E).transpose(1, 2) for _ in range(3))
    problem = arguments.Problem(
        query,
        key,
        value,
        previous_map=empty(B, H, N, N),
        weight=empty(H, H, K, K) if convolved else None,
        bias=empty(H) if convolved else None,
        shares=empty(2, dtype=torch.float32),
        mask=empty(N, N, dtype=torch.bool) if masked else None,
        map_bias=empty(1, H, N, N),
        seed=empty(1, dtype=torch.int64),
        activation="relu",
        window="bidirectional",
        scale=0.125,
        dropout=0.1,
    )
    output, own_map, normalizer, signs = launch.forward(problem)
    saved = arguments.Saved(output, own_map, normalizer, signs, empty(*output.shape), own_map)
    names = ("query", "key", "value", "previous_map", "weight", "bias", "alpha", "beta")
    launch.backward(problem, saved, dict.fromkeys(names, True) | {"map_bias": False})


if __name__ == "__main__":
    compile_layer(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}"))
