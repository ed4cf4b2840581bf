"""The networks of "Untouched networks" in docs/certify.md, and the student of CIFAR-10.

`python untouched.py` trains LeNet-5 for three epochs and writes lenet5.safetensors.
"""

import torch
from safetensors.torch import save_file
from torch import nn

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
VIEWS = (1, 0.5), (0, 0.25), (2, 0.25)  # where a picture is cut out of its padded self, and weights


def lenet5():
    """LeNet-5 for MNIST with ReLU and maxima, 61,706 parameters."""
    first = nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    dense = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
    return nn.Sequential(*first, *second, *dense)


def zoo_resnet20():
    """ResNet-20 of the zoo, `nets.py` beside its weights, on pixels between 0 and 1."""
    import nets

    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    net = nets.resnet20()
    net.register_forward_pre_hook(lambda _, given: ((given[0] - mean) / deviation,))
    return net


def normalised(inputs, outputs, size=3, stride=1):
    """A convolution with batch statistics."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two convolutions that halve the picture, and a shortcut."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first, self.second = (
            normalised(inputs, outputs, stride=2),
            normalised(outputs, outputs),
        )
        self.shortcut = normalised(inputs, outputs, size=1, stride=2)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Learner(nn.Sequential):
    """It learns in bfloat16, and answers in float32 by six views of a picture: moved, mirrored."""

    def forward(self, x):
        if self.training:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()
        total, side, padded = 0.0, x.shape[-1], nn.functional.pad(x, (1, 1, 1, 1))
        for at, weight in VIEWS:
            view = padded[..., at : at + side, at : at + side]
            total = total + weight * (super().forward(view) + super().forward(view.flip(3)))
        return total


def learner(width=20):
    """A residual network of 8 layers, which learns CIFAR-10 on one core."""
    blocks = [Block(width << k, width << k + 1) for k in range(3)]
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10)
    net = Learner(normalised(3, width), nn.ReLU(), *blocks, *ends)
    return net.to(memory_format=torch.channels_last)


def trained_lenet5(seed=0, epochs=3):
    """LeNet-5 after epochs of Adam on MNIST, batches of 64, step sizes along one cycle."""
    from prunable.certify.examples import examples_of
    from prunable.runs.data import DataSpec

    torch.manual_seed(seed)
    net, (train, _) = lenet5(), examples_of(DataSpec.create(name="mnist").load(flatten=False))
    optimizer = torch.optim.Adam(net.parameters())
    x, y = train.tensors
    steps = epochs * len(torch.arange(len(y)).split(64))
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for epoch in range(1, epochs + 1):
        for chosen in torch.randperm(len(y)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            cycle.step()
        print(
            f"epoch {epoch} of {epochs}: loss of the last batch {float(loss.detach()):.4f}",
            flush=True,
        )
    return net


if __name__ == "__main__":
    save_file(trained_lenet5().state_dict(), "lenet5.safetensors")
    print("lenet5.safetensors is written")
