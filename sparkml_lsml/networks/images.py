"""Networks for images: convolution, pooling, and a residual network.

Rows have the shape (channels, height, width). What normalises is GroupNorm, which has no running
means: those of workers that see different rows would have to be averaged.
"""

from collections.abc import Sequence

import torch
from torch import nn

Shape = tuple[int, ...]

LARGEST_GROUP = 8
"""Channels that GroupNorm normalises together."""


class Scaled(nn.Module):
    """Rows times a number, such as 1/255 for bytes."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The rows, scaled."""
        return x * self.scale

    def extra_repr(self) -> str:
        """The factor."""
        return f"scale={self.scale:g}"


def cnn(
    shape: Shape,
    outputs: int,
    *,
    channels: Sequence[int] = (16, 32),
    kernel: int = 5,
    padding: int = 0,
    units: Sequence[int] = (128,),
    normalize: bool = False,
    dropout: float = 0.0,
    scale: float = 1.0,
) -> nn.Module:
    """Convolutions, each with ReLU and pooling by 2, then dense layers: LeNet's form.

    Parameters
    ----------
    shape : tuple of int
        Channels, height, width.
    outputs : int
    channels : sequence of int
        Of each convolution.
    kernel, padding : int
        Of all of them; ``kernel=3, padding=1`` keeps the size.
    units : sequence of int
        Of the hidden dense layers.
    normalize : bool
        Whether GroupNorm follows each convolution.
    dropout : float
        Share of the inputs of the last layer that a row does without in training.
    scale : float
        What pixels are multiplied by first.

    References
    ----------
    LeCun et al. (1998), Gradient-based learning applied to document recognition, Proc. IEEE 86;
    Wu and He (2018), Group Normalization, ECCV.
    """
    below, height, width = image(shape)
    parts: list[nn.Module] = [Scaled(scale)] if scale != 1.0 else []
    for above in channels:
        parts.append(nn.Conv2d(below, above, kernel, padding=padding))
        if normalize:
            parts.append(norm(above))
        parts += [nn.ReLU(), nn.MaxPool2d(2)]
        below = above
        height, width = ((n + 2 * padding - kernel + 1) // 2 for n in (height, width))
        if min(height, width) < 1:
            raise ValueError(
                f"images of {shape[1]} x {shape[2]} are too small for {len(channels)} convolutions "
                f"of {kernel} x {kernel} with pooling: use fewer channels, or padding={kernel // 2}"
            )
    parts.append(nn.Flatten())
    inputs = below * height * width
    for size in units:
        parts += [nn.Linear(inputs, size), nn.ReLU()]
        inputs = size
    if dropout:
        parts.append(nn.Dropout(dropout))
    parts.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*parts)


class Residual(nn.Module):
    """Two convolutions of 3 x 3, whose result is added to what they are given."""

    def __init__(self, below: int, above: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(below, above, 3, stride=stride, padding=1, bias=False)
        self.first_norm = norm(above)
        self.second = nn.Conv2d(above, above, 3, padding=1, bias=False)
        self.second_norm = norm(above)
        plain = below == above and stride == 1
        self.across = nn.Identity() if plain else nn.Conv2d(below, above, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        inner = torch.relu(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        return torch.relu(inner + self.across(x))


def resnet_small(
    shape: Shape,
    outputs: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 1,
    dropout: float = 0.0,
    scale: float = 1.0,
) -> nn.Module:
    """A residual network: a convolution, stages of blocks, each of half the size, and a mean.

    Parameters
    ----------
    shape : tuple of int
        Channels, height, width.
    outputs : int
    channels : sequence of int
        Of each stage.
    blocks : int
        A stage.
    dropout : float
        Share of the inputs of the last layer that a row does without in training.
    scale : float
        What pixels are multiplied by first.

    References
    ----------
    He et al. (2016), Deep residual learning for image recognition, CVPR.
    """
    below, _, _ = image(shape)
    first = channels[0]
    parts: list[nn.Module] = [Scaled(scale)] if scale != 1.0 else []
    parts += [nn.Conv2d(below, first, 3, padding=1, bias=False), norm(first), nn.ReLU()]
    below = first
    for stage, above in enumerate(channels):
        for number in range(blocks):
            parts.append(Residual(below, above, 2 if stage and number == 0 else 1))
            below = above
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        parts.append(nn.Dropout(dropout))
    parts.append(nn.Linear(below, outputs))
    return nn.Sequential(*parts)


def norm(channels: int) -> nn.Module:
    """GroupNorm over groups of channels that divide them."""
    groups = next(g for g in range(max(1, channels // LARGEST_GROUP), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def image(shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises
    ------
    ValueError
        If the shape is of something else.
    """
    if len(shape) != 3:
        raise ValueError(
            f"rows have the shape {list(shape)}: expected inputShape=[channels, height, width]"
        )
    channels, height, width = shape
    return channels, height, width
