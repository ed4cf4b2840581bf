"""The operations of a graph that surgery knows, by what they do to channels."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS: dict[type[nn.Module], tuple[int, ...]] = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,)}
# What acts on channels one by one: modules, by the name of their function.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "hardtanh": nn.Hardtanh,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "logsigmoid": nn.LogSigmoid,
}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
POOLS = tuple(
    getattr(nn, f"{kind}Pool{d}d")
    for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax")
    for d in (1, 2)
)
# Functions and methods, by name; a trailing underscore is the form in place.
PAIRWISE = {"add", "sub", "mul", "iadd", "isub", "imul"}
ELEMENTWISE = {*ACTIVATIONS, *PAIRWISE, "neg", "div", "truediv", "itruediv"}
POOL_FUNCTIONS = {
    f"{kind}_pool{d}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2)
}
DROPOUT_FUNCTIONS = {"dropout", "dropout1d", "dropout2d", "alpha_dropout"}
RESHAPES = {"view", "reshape"}
# Safe for what derives from the model's input alone, whose size never changes.
OF_INPUT = {"permute", "transpose", "unsqueeze", "squeeze", *RESHAPES}


def call_node(node: fx.Node, *tensors: Tensor) -> Tensor:
    """Carry out the operation of a node on other tensors."""
    given: Iterator[tuple[fx.Node, Tensor]] = zip(node.all_input_nodes, tensors, strict=True)
    new = {old: tensor.clone() for old, tensor in given}
    arguments: Any = fx.node.map_arg(node.args, lambda n: new[n])
    options: Any = fx.node.map_arg(node.kwargs, lambda n: new[n])
    if isinstance(node.target, str):
        done = getattr(arguments[0], node.target)(*arguments[1:], **options)
    else:
        done = node.target(*arguments, **options)
    assert isinstance(done, Tensor)
    return done


def function_name(node: fx.Node) -> str:
    """Name of a function or method, qualified if it is not torch's or Python's own."""
    if isinstance(node.target, str):
        return node.target
    module = getattr(node.target, "__module__", None) or "torch"
    name = getattr(node.target, "__name__", str(node.target))
    known = module.split(".")[0] in ("torch", "_operator", "builtins")
    return name if known else f"{module}.{name}"


def pads_with_zeros(module: Any) -> bool:
    """Whether a layer sees zeros beyond the borders of its input."""
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros":
        return False
    if module.padding == "same":
        return any(size > 1 for size in module.kernel_size)
    return module.padding != "valid" and any(module.padding)
