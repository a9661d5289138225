"""What reads the parts of an observation: convolutions for images, dense layers or nothing for vectors."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pufferlib_core.emulation import Leaf, SpaceTree
from pufferlib_core.errors import ConfigError, SpaceError


class Conv(NamedTuple):
    """A convolution without padding."""

    filters: int
    kernel: int  # both ways
    stride: int


CONVOLUTIONS = {  # by the name of who published them
    "nature": (Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3, 1)),  # Mnih et al. 2015
    "impala_small": (Conv(16, 8, 4), Conv(32, 4, 2)),  # Espeholt et al. 2018, arXiv 1802.01561, figure 3, left
}


@dataclass(frozen=True)
class Encoder:
    """What reads one leaf of an observation: `size` numbers from `first` on."""

    first: int
    size: int
    image: tuple[int, int, int] | None = None  # height, width and channels; None: a vector
    scale: float = 1.0  # of its numbers, before they are read
    convs: tuple[Conv, ...] = ()  # of an image
    widths: tuple[int, ...] = ()  # of the dense layers of a vector

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Height, width and channels of an image and of what each convolution makes of it.

        Raises:
            SpaceError: if a convolution is larger than what it reads.
        """
        assert self.image is not None
        shapes = [self.image]
        for conv in self.convs:
            height, width, _ = shapes[-1]
            if conv.kernel > min(height, width):
                raise SpaceError(
                    f"policy.conv: a kernel of {conv.kernel} does not fit what layer {len(shapes) - 1} reads, {height}x{width} "
                    f"of an image {self.image}: choose smaller kernels or strides"
                )
            down = [(side - conv.kernel) // conv.stride + 1 for side in (height, width)]
            shapes.append((down[0], down[1], conv.filters))
        return shapes

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """Shapes of the weights: (out, in, kernel, kernel) or (out, in)."""
        if self.image is None:
            return [(out, read) for read, out in itertools.pairwise((self.size, *self.widths))]
        return [
            (conv.filters, shape[2], conv.kernel, conv.kernel) for conv, shape in zip(self.convs, self.shapes, strict=False)
        ]

    @property
    def width(self) -> int:
        """Numbers that it gives."""
        return math.prod(self.shapes[-1]) if self.image is not None else (self.size, *self.widths)[-1]


def encoders(tree: SpaceTree, described: tuple[str, ...], widths: tuple[int, ...]) -> list[Encoder]:
    """What reads the leaves of a space, in their order; empty: nothing does, they are read as they are.

    Args:
        tree: the space.
        described: convolutions of images, see `convolutions`; none: images are vectors like others.
        widths: of the dense layers of each vector of a nested space.

    Raises:
        ConfigError: if there is nothing that they could read.
        SpaceError: if a convolution is larger than what it reads.
    """
    convs = convolutions(described)
    found, first = [], 0
    for leaf in tree.leaves:
        image = _image(leaf, alone=len(tree.leaves) == 1) if convs else None
        if image is not None:
            found.append(Encoder(first, leaf.width, image, 1 / 255 if leaf.dtype == np.uint8 else 1.0, convs=convs))
        else:
            found.append(Encoder(first, leaf.width, widths=widths if len(tree.leaves) > 1 else ()))
        first += leaf.width
    if convs and not any(encoder.image for encoder in found):
        raise ConfigError(f"policy.conv={described} needs an image, a Box (height, width[, channels]); got {tree.space}")
    if widths and not any(encoder.widths for encoder in found):
        raise ConfigError(f"policy.encoder={widths} is for the vectors of a nested observation; got {tree.space}")
    return found if any(encoder.layers for encoder in found) else []


def convolutions(described: tuple[str, ...]) -> tuple[Conv, ...]:
    """Those of a name, or of `filters:kernel:stride` for each.

    Raises:
        ConfigError: if it is neither.
    """
    if len(described) == 1 and described[0] in CONVOLUTIONS:
        return CONVOLUTIONS[described[0]]
    found = []
    for text in described:
        numbers = re.fullmatch(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", text)
        if numbers is None:
            names = ", ".join(CONVOLUTIONS)
            raise ConfigError(
                f"policy.conv: {text!r} is neither filters:kernel:stride (such as 32:8:4) nor one of {names} alone"
            )
        found.append(Conv(*map(int, numbers.groups())))
    return tuple(found)


def _image(leaf: Leaf, *, alone: bool) -> tuple[int, int, int] | None:
    """Height, width and channels of a leaf that is an image: a Box of three axes, or of two if nothing else is observed."""
    if leaf.choices or len(leaf.shape) not in ((2, 3) if alone else (3,)):
        return None
    height, width, channels = (*leaf.shape, 1)[:3]
    return height, width, channels
