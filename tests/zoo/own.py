"""Small networks of the zoo that no library brings: one for each way to couple layers."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


def convolved(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution with normalisation and activation, as YOLO calls it."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class LSTMClassifier(nn.Module):
    """Two layers of LSTM on embedded tokens; the last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 24)
        self.lstm = nn.LSTM(24, 32, num_layers=2, batch_first=True)
        self.fc = nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        return self.fc(states[:, -1])


class BidirectionalGRU(nn.Module):
    """A GRU in both directions, a label a step."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(12, 20)
        self.gru = nn.GRU(20, 16, bidirectional=True, batch_first=True)
        self.hidden = nn.Linear(32, 24)
        self.label = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(torch.relu(self.project(x)))
        return self.label(torch.relu(self.hidden(states)))


class EncoderClassifier(nn.Module):
    """nn.TransformerEncoder on a projected sequence, its mean classified."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(10, 32)
        layer = nn.TransformerEncoderLayer(32, 4, dim_feedforward=64, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.project(x)).mean(1))


class AttentionPooling(nn.Module):
    """nn.MultiheadAttention from one learned query to a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(10, 32)
        self.query = nn.Parameter(torch.randn(1, 1, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.hidden = nn.Linear(32, 48)
        self.fc = nn.Linear(48, 6)

    def forward(self, x: Tensor) -> Tensor:
        keys = torch.relu(self.project(x))
        query = self.query.expand(len(x), -1, -1)
        pooled, _ = self.attention(query, keys, keys, need_weights=False)
        return self.fc(torch.relu(self.hidden(pooled[:, 0])))


class UNet(nn.Module):
    """Two levels down and, by transposed convolutions, up again; skips are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = self._double(3, 16), self._double(16, 32)
        self.bottom = self._double(32, 64)
        self.rise2 = nn.ConvTranspose2d(64, 32, 2, 2)
        self.up2 = self._double(64, 32)
        self.rise1 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.up1 = self._double(32, 16)
        self.head = nn.Conv2d(16, 4, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        second = self.down(functional.max_pool2d(first, 2))
        low = self.bottom(functional.max_pool2d(second, 2))
        middle = self.up2(torch.cat([self.rise2(low), second], 1))
        return self.head(self.up1(torch.cat([self.rise1(middle), first], 1)))


class Bottleneck(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolved(width, width), convolved(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class C2f(nn.Module):
    """Half of the channels passes bottlenecks; all that arises on the way is concatenated."""

    def __init__(self, inputs: int, outputs: int, repeats: int) -> None:
        super().__init__()
        self.width = outputs // 2
        self.enter = convolved(inputs, outputs, 1)
        self.blocks = nn.ModuleList(Bottleneck(self.width) for _ in range(repeats))
        self.leave = convolved((2 + repeats) * self.width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class C2fNet(nn.Module):
    """A backbone of C2f blocks with pooling pyramid, as in YOLOv8, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolved(3, 16, 3, 2)
        self.first = C2f(16, 32, 1)
        self.down = convolved(32, 32, 3, 2)
        self.second = C2f(32, 64, 2)
        self.squeeze, self.spread = convolved(64, 32, 1), convolved(128, 64, 1)
        self.fc = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.down(self.first(self.stem(x))))
        pooled = [self.squeeze(x)]
        for _ in range(3):
            pooled.append(functional.max_pool2d(pooled[-1], 5, 1, 2))
        return self.fc(self.spread(torch.cat(pooled, 1)).mean((2, 3)))


class GroupedConvolutions(nn.Module):
    """Convolutions in groups of several channels, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.grouped = nn.Conv2d(32, 48, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(48)
        self.depthwise = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.point = nn.Conv2d(48, 24, 1)
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.grouped(torch.relu(self.stem(x)))))
        return self.fc(torch.relu(self.point(self.depthwise(x))).mean((2, 3)))


class TiedLanguageModel(nn.Module):
    """Embedding and output are one matrix; a gated feed-forward part lies between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(90, 32)
        self.norm = nn.LayerNorm(32)
        self.gate, self.up = nn.Linear(32, 64, bias=False), nn.Linear(32, 64, bias=False)
        self.down = nn.Linear(64, 32, bias=False)
        self.head = nn.Linear(32, 90, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        y = self.norm(x)
        return self.head(x + self.down(functional.silu(self.gate(y)) * self.up(y)))


class SharedLayer(nn.Module):
    """One convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.again = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 24, 3, padding=1)
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.again(torch.relu(self.again(x))))
        return self.fc(torch.relu(self.last(x)).mean((2, 3)))


class TemporalBlock(nn.Module):
    """Two dilated causal convolutions with weight normalisation around a shortcut."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.first = weight_norm(nn.Conv1d(inputs, outputs, 3, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(outputs, outputs, 3, dilation=dilation))
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(functional.pad(x, (self.pad, 0))))
        y = torch.relu(self.second(functional.pad(y, (self.pad, 0))))
        return torch.relu(y + self.shortcut(x))


class WeightNormedTCN(nn.Module):
    """A temporal convolutional network on a series."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 16, 16, 24)
        blocks = [TemporalBlock(a, b, 2**i) for i, (a, b) in enumerate(pairwise(widths))]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(x)[:, :, -1])


class TwoHeads(nn.Module):
    """One body, a classifier and a regression."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU())
        self.kind = nn.Linear(48, 10)
        self.size = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return self.kind(x), self.size(x)


class VolumeNet(nn.Module):
    """Convolutions of volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv3d(1, 12, 3, padding=1, bias=False), nn.BatchNorm3d(12)
        self.second, self.norm2 = nn.Conv3d(12, 20, 3, padding=1, bias=False), nn.BatchNorm3d(20)
        self.fc = nn.Linear(20 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool3d(torch.relu(self.norm1(self.first(x))), 2)
        x = functional.adaptive_avg_pool3d(torch.relu(self.norm2(self.second(x))), 2)
        return self.fc(x.flatten(1))


class PaddedBlock(nn.Module):
    """A residual block whose shortcut drops pixels and adds channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            half = self.missing // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return torch.relu(y + x)


class PaddedResNet(nn.Module):
    """A ResNet for small pictures with shortcuts of option A (He et al. 2016), depth 14."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = ((16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.blocks = nn.Sequential(*(PaddedBlock(*size) for size in sizes))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


class SqueezeExcitation(nn.Module):
    """A convolution whose channels are weighted by what a small network makes of their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3))))))
        return torch.relu(x + y * weights[:, :, None, None])


class SqueezeExcitationNet(nn.Module):
    """Two such blocks between a stem and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.Sequential(SqueezeExcitation(32), SqueezeExcitation(32))
        self.fc = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))


class Autoencoder(nn.Module):
    """Convolutions down, transposed ones up; PReLU and Upsample on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.PReLU(16), nn.Conv2d(16, 32, 3, 2, 1), nn.PReLU(32)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 2, 2),
            nn.LeakyReLU(0.1),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
