"""What no kernel can do in its backward pass, refused in words."""

import torch
from torch import Tensor

__all__ = ["check_gradients"]


def check_gradients(*gradients: Tensor | None) -> None:
    """Raise RuntimeError where these gradients are to be differentiated, or are batches of some.

    Gradients of gradients would count as constants without a word.
    """
    functorch = torch._C._functorch
    if torch.is_grad_enabled() or any(
        functorch.is_legacy_batchedtensor(each) or functorch.is_functorch_wrapped_tensor(each)
        for each in gradients
        if each is not None
    ):
        raise RuntimeError(
            "this backend of evolving attention gives no second derivatives, and no batches of "
            "gradients: compute under attention_backend('reference')."
        )
