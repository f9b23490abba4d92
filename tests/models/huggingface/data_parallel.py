"""One of two processes: half of the batch, and the gradients of the whole."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from tests.models.huggingface.helpers import MODELS, evolving, gradients, labelled


def main():
    dist.init_process_group("gloo")
    for kind in MODELS:
        torch.manual_seed(0)
        model = evolving(kind)
        whole = labelled(lengths=(6, 6, 6, 6))
        expected = gradients(model, whole)
        parallel = DistributedDataParallel(model)
        model.zero_grad()
        rank = dist.get_rank()
        half = {name: each[2 * rank : 2 * rank + 2] for name, each in whole.items()}
        parallel(**half).loss.backward()
        actual = {name: parameter.grad for name, parameter in model.named_parameters()}
        assert_close(actual, expected)
    dist.destroy_process_group()
    print("same gradients", flush=True)


if __name__ == "__main__":
    main()
