"""The Triton kernels compile for a GPU: without one, the only proof that they will run there."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton.backends.nvidia")

MOST_SHARED = 227 * 1024  # bytes a program can have on an H100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kernels"),
    [
        (
            {"H": 12},
            {
                "reach_kernel",
                "convolve_kernel",
                "attend_kernel",
                "convolution_gradient_kernel",
                "query_gradient_kernel",
                "key_gradient_kernel",
            },
        ),
        (
            {"H": 4, "convolved": False, "masked": False},
            {"attend_kernel", "query_gradient_kernel", "key_gradient_kernel"},
        ),
    ],
    ids=["convolved", "plain"],
)
def test_every_kernel_compiles_for_a_gpu_and_fits(options, kernels, tmp_path):
    environment = {name: each for name, each in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)  # compile now, whatever was compiled before
    done = subprocess.run(
        [sys.executable, "-m", "tests.attention.kernels.ahead", json.dumps(options)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    needs = [json.loads(line) for line in done.stdout.splitlines()]
    assert {need["kernel"] for need in needs} == kernels
    for need in needs:
        assert need["shared"] <= MOST_SHARED, need
        assert need["spilled"] <= 512, need  # a few numbers a thread: they stay in cache
        assert need["kernel"] == "reach_kernel" or need["matrix instructions"] > 0, need
