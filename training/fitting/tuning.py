"""Everything that decides how a backbone is fine-tuned; the loop is `fitting.finetune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# variance: of embeddings; loss: of the watched photographs' losses, anew after each epoch.
SAMPLERS: Final = ("variance", "loss", "balanced", "as_given")
FLOAT32: Final = "32-true"
BFLOAT16: Final = "bf16-mixed"
AS_SUITS: Final = "auto"  # bfloat16 on a GPU, float32 without
PRECISIONS: Final = (AS_SUITS, FLOAT32, BFLOAT16)  # in Lightning's words; float16 would need its losses scaled


@dataclass(frozen=True, slots=True)
class Tuning:
    """First the head alone, then the last blocks with it, each further from the head slower.

    The strengths of MixUp (Zhang et al. 2018), CutMix (Yun et al. 2019), RandAugment (Cubuk et al. 2020)
    and RandomErasing (Zhong et al. 2020) are those of the papers' small data sets.
    """

    head_epochs: int = 2
    epochs: int = 12  # with the last blocks
    unfrozen: int = 2  # blocks from the end; what comes after them always learns too
    batch: int = 16
    head_rate: float = 1e-2  # of AdamW
    rate: float = 1e-3  # of what comes after the blocks
    rate_decay: float = 0.5  # a block's rate by that of the part after it
    weight_decay: float = 0.05
    warm_up: float = 0.1  # share of each stage; then a cosine to 0
    average_decay: float = 0.9  # a step, of the averaged network: the last two epochs of a hundred photographs
    patience: int = 4  # epochs without a better one on the photographs that are watched
    watch_share: float = 0.15  # of the photographs to learn from, whole groups, watched and not learnt from
    smoothing: float = 0.1  # of labels
    mix_ratio: float = 0.5  # share of batches that are mixed
    cutmix_share: float = 0.5  # of them, the share that CutMix mixes; MixUp the others
    mixup_alpha: float = 0.2
    cutmix_alpha: float = 1.0
    randaugment_ops: int = 2
    randaugment_magnitude: int = 9
    erasing_ratio: float = 0.5  # share of images with a rectangle missing
    sampler: str = "variance"  # one of SAMPLERS
    # With a sampler that evens out the classes, weights in the loss would count the small ones twice.
    class_weighted: bool = False
    # Share of the images of small classes (`sampling.minorities`) that `robust.degraded` degrades once more.
    minority_robust_ratio: float = 0.0
    # Their statistics: only a network that starts from nothing gains by those of a hundred photographs.
    learn_norms: bool = False
    # Both decide the last digits of the network, and so belong to what a run is made again from.
    devices: int = 1  # GPUs, or processes where there is none, that share each batch
    precision: str = AS_SUITS  # one of PRECISIONS
