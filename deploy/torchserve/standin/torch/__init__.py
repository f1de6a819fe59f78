"""Stands in for PyTorch in TorchServe's workers, which import it for one `isinstance` check.

`ts/protocol/otf_message_handler.py` asks whether an answer is a `torch.Tensor`. Amulet's
handler answers with bytes, so that no tensor is ever seen: the name is enough, and a worker
takes a fifth of the memory. The launcher puts the folder above this one first on the
workers' path, so that even where PyTorch is installed they never load it (decision 0041).
"""

from __future__ import annotations


class Tensor:
    """Nothing is an instance of it."""
