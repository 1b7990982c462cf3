"""Small networks with one peculiarity each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def conv(inputs: int, outputs: int, kernel: int = 3, **options: object) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Classifying(nn.Module):
    """A stem, something in the middle, and a classifier."""

    def __init__(self, middle: nn.Module, channels: int = 8, out: int | None = None) -> None:
        super().__init__()
        self.stem, self.middle = conv(3, channels), middle
        self.head = nn.Linear(out or channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.stem(x)).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.project = conv(channels, hidden), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.expand(x))


class Shuffle(nn.Module):
    """Two groups of channels that change places, as in ShuffleNet; then a convolution that tells them apart."""

    def __init__(self, channels: int = 8, groups: int = 2) -> None:
        super().__init__()
        self.groups = groups
        self.before, self.after = conv(channels, channels), conv(channels, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        n, c, h, w = x.shape
        x = x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.after(x)


class Halves(nn.Module):
    """Half of the channels pass by, as in ShuffleNetV2."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.branch = conv(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        x = torch.cat((first, self.branch(second)), dim=1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Written(nn.Module):
    """Channels that are written through a view, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.more, self.after = conv(8, 4), conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :4] += self.more(x)
        return self.after(y)


class Filled(nn.Module):
    """An empty tensor that is filled slice by slice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.after = conv(8, 4), conv(8, 6), conv(10, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = x.new_zeros(x.shape[0], 10, *x.shape[2:])
        y[:, :4] = self.one(x)
        y[:, 4:] = self.two(x)
        return self.after(y)


class Grouped(nn.Module):
    def __init__(self, groups: int = 4) -> None:
        super().__init__()
        self.before, self.inside, self.after = conv(8, 16), conv(16, 32, groups=groups), conv(32, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inside(self.before(x)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = conv(8, 12), conv(12, 10)
        self.up = nn.ConvTranspose2d(10, 6, 2, stride=2)
        self.join = conv(8 + 6 + 12, 8)

    def forward(self, x: Tensor) -> Tensor:
        small = self.down(F.max_pool2d(x, 2))
        up = self.up(self.deep(small))
        wide = F.interpolate(small, scale_factor=2.0, mode="bilinear")
        return self.join(torch.cat([x, up, wide], dim=1))


class PixelShuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.shuffle, self.after = conv(8, 24), nn.PixelShuffle(2), conv(6, 8)
        self.back = nn.PixelUnshuffle(2)
        self.last = conv(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.back(self.after(self.shuffle(self.before(x)))))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(8, 12, 1), conv(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(F.glu(self.before(x), dim=1))


class Einsum(nn.Module):
    """A linear layer on the last axis of maps, and a product by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(8, 12), nn.Linear(12, 8)
        self.mix = nn.Parameter(torch.randn(12, 12) / 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x.permute(0, 2, 3, 1)))
        x = torch.einsum("nhwc,cd->nhwd", x, self.mix)
        return self.last(x).permute(0, 3, 1, 2)


class Twice(nn.Module):
    """A module that runs twice, and a parameter that two modules share."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.first, self.second = Residual(8, 6), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(self.block(self.block(x)))))


class OverWholeMaps(nn.Module):
    """A norm over channels and places, and one over several groups of channels."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        self.before, self.norm = nn.Conv2d(8, 6, 1), nn.LayerNorm((6, size, size))
        self.between, self.groups, self.after = nn.Conv2d(6, 12, 1), nn.GroupNorm(3, 12), nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(F.relu(self.groups(self.between(self.norm(self.before(x))))))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.before, self.recurrent, self.after = nn.Conv2d(8, 6, 1), kind(6, 7, batch_first=True), nn.Linear(7, 8)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows, _ = self.recurrent(self.before(x).flatten(2).transpose(1, 2))
        return self.after(rows).transpose(1, 2).reshape(n, 8, h, w)


class Looked(nn.Module):
    """A table of vectors that is looked up by number, and a buffer of the channels' size."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.table = nn.Embedding(64, 6)
        self.register_buffer("scale", torch.rand(6) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x) * self.scale[:, None, None]
        numbers = torch.arange(x.shape[2] * x.shape[3], device=x.device)
        return self.after(x + self.table(numbers).T.reshape(1, -1, *x.shape[2:]))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Residual(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient * 2


class OwnGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Residual(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = x.mean((2, 3), keepdim=True)
        return Doubled.apply(self.block(x)) * scale


class Returning(nn.Module):
    """A network that returns a dictionary of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = conv(3, 8), conv(8, 6)
        self.heads = nn.ModuleList([nn.Conv2d(8, 2, 1), nn.Conv2d(6, 3, 1)])

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        first = self.stem(x)
        second = self.inner(first)
        return {"maps": [head(each) for head, each in zip(self.heads, (first, second))]}


class Attending(nn.Module):
    """Attention whose code finds the channels of a head by dividing those that come in."""

    def __init__(self, channels: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.Conv2d(8, channels, 1)
        self.qkv, self.proj, self.after = (
            nn.Linear(channels, 3 * channels),
            nn.Linear(channels, channels),
            conv(channels, 8),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attend(x)
        return self.after(x.transpose(1, 2).reshape(n, -1, h, w))

    def attend(self, x: Tensor) -> Tensor:
        n, places, c = x.shape
        q, k, v = self.qkv(x).reshape(n, places, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, places, c))


class Constant(nn.Module):
    """Code with a number of channels written out."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = conv(8, 12), conv(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.before(x)[:, :6])


class Branching(nn.Module):
    """Code that does something else for fewer channels."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = conv(8, 12), conv(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        if x.shape[1] < 12:
            x = x.sigmoid()
        return self.after(x)
