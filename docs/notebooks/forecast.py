# %% [markdown]
# # Know before you prune: a forecast, advice, and what came of it
#
# A network for handwritten digits is trained in seconds. From unlabelled inputs and its known
# accuracy alone the accuracy after pruning is forecast, in three ways to seven shares; advice takes
# the smallest network that loses at most five points; and other labels judge both. [How it is
# found](../forecast.md).

# %%
import sys
from pathlib import Path

import torch
from torch import nn

import prunable
from prunable.data.loaders import load
from prunable.forecast.advising import outcome_of
from prunable.forecast.document import layers_table, write_figure

data = load("digits")
x, y = torch.from_numpy(data.x_train.copy()).float(), torch.from_numpy(data.y_train.copy())
trained, held, unlabelled = slice(0, 800), slice(800, 1000), slice(1000, None)
later = torch.from_numpy(data.x_test.copy()).float()
classes = torch.from_numpy(data.y_test.copy())

# %% [markdown]
# ## A network, and what is known of it

# %%
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x[trained]), y[trained]).backward()
    optimizer.step()
net.eval()
accuracy = float((net(x[held]).argmax(1) == y[held]).float().mean())
print(f"known accuracy {accuracy:.3f}, on {held.stop - held.start} examples")

# %% [markdown]
# ## What to expect, way by way
#
# No pruned network has seen a label. Bands are 90 % intervals.

# %%
ways = {"strategies": ["magnitude/global", "magnitude/lamp", "wanda/lamp"]}
keeps = {"keeps": [0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]}
found = prunable.forecast(net, x[unlabelled], accuracy=accuracy, **ways, **keeps)
print(found)
for curve in found.curves:
    points = (f"{p.kappa:g}: {p.accuracy:.3f} ({p.low:.3f}-{p.high:.3f})" for p in curve.points)
    print(f"{curve.name:17}", "  ".join(points))

# %% [markdown]
# ## The smallest that loses at most five points
#
# The verdict counts in that the best of many was looked for.

# %%
advice = prunable.advise(net, x[unlabelled], accuracy=accuracy, at_most_loss=0.05, **ways, **keeps)
print(advice)
document = advice.to_dict()
if advice.plan is not None:
    print(layers_table(document).markdown())

# %% [markdown]
# ## What came of it
#
# The plan is carried out on a copy, and other labelled inputs judge it.

# %%
if advice.plan is not None:
    outcome = outcome_of(net, advice.plan, later, classes)
    print(
        f"forecast {outcome.forecast:.3f}, came {outcome.accuracy:.3f} (dense "
        f"{outcome.dense_accuracy:.3f}); the loss of {outcome.loss:.3f} {outcome.verdict.lower()}"
    )

# %% [markdown]
# ## The curves, with the chosen point ringed

# %%
figure = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "forecast.svg"
write_figure(document["forecast"], figure, document["chosen"])
