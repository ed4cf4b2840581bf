"""Masks held while training, iterative pruning with rewinding, and tickets."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from prunable.errors import DataIntegrityError, InputError, PrunableError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.prune.iterative import iterate, kept_shares
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, RandomPruning
from prunable.nets.prune.tickets import (
    Ticket,
    apply_ticket_,
    load_ticket,
    random_ticket,
    save_ticket,
    shuffle_masks,
)
from prunable.nets.train.noise import HeavyTailedNoise, attach_noise

pytestmark = pytest.mark.usefixtures("one_thread")


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        nn.Tanh(),
        nn.Linear(12, 9),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(9, 3),
    )


def problem():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()


def masks_of(model, share=0.4, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(p.shape, generator=generator) < share
        for name, p in model.named_parameters()
        if p.ndim == 2
    }


def steps(model, optimizer, count=6):
    x, y = problem()
    for _ in range(count):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


def values(model):
    return {name: x.clone() for name, x in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# masks held while training

OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, foreach=True),
    "closure": lambda p: torch.optim.LBFGS(p, max_iter=4),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_pruned_weights_are_zero_after_every_step(kind):
    model = network().eval()
    masks = masks_of(model)
    optimizer = OPTIMIZERS[kind](model.parameters())
    if kind != "closure":
        steps(model, optimizer, 3)  # so that there is momentum to forget
    hold_masks(optimizer, model.named_parameters(), masks)
    before = values(model)
    x, y = problem()

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        for name, mask in masks.items():  # already when a clipping norm would be taken
            assert not model.get_parameter(name).grad[~mask].any()
        return loss

    for _ in range(4):
        optimizer.step(closure)
        for name, mask in masks.items():
            p = model.get_parameter(name)
            assert not p[~mask].any()
            assert not torch.signbit(p[~mask]).any()
            assert (p[mask] != before[name][mask]).double().mean() > 0.5
            for slot in optimizer.state.get(p, {}).values():
                if isinstance(slot, torch.Tensor) and slot.shape == p.shape:
                    assert not slot[~mask].any()


def test_survivors_move_as_if_pruned_weights_did_not_exist():
    """Against a network whose forward pass multiplies by the mask, with plain momentum."""
    x, y = problem()
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 6, generator=generator)
    mask = torch.rand(3, 6, generator=generator) < 0.5
    model = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(start)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    hold_masks(optimizer, model.named_parameters(), {"weight": mask})
    steps(model, optimizer, 8)

    free = (start * mask).requires_grad_()
    momentum = torch.zeros_like(free)
    for _ in range(8):
        loss = functional.cross_entropy(x @ (free * mask).T, y)
        momentum = 0.9 * momentum + torch.autograd.grad(loss, free)[0]
        free = (free.detach() - 0.3 * momentum).requires_grad_()
    torch.testing.assert_close(model.weight, free * mask)


@pytest.mark.parametrize("noise_first", [True, False])
@pytest.mark.parametrize("kind", ["type1", "type2", "type3"])
def test_masks_hold_under_heavy_tailed_noise(kind, noise_first):
    """Noise comes in either order; the weights that stay get the draws they always get."""
    model, free = network().eval(), network().eval()
    masks = masks_of(model)
    noise = HeavyTailedNoise(kind, 1.5, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def attach(optimizer, model):
        attach_noise(optimizer, model.named_parameters(), noise, seed=3, only=tuple(masks))

    if noise_first:
        attach(optimizer, model)
    hold_masks(optimizer, model.named_parameters(), masks)
    if not noise_first:
        attach(optimizer, model)
    for _ in range(5):
        steps(model, optimizer, 1)
        for name, mask in masks.items():
            assert not model.get_parameter(name)[~mask].any()

    # by hand: both networks pruned, one step without gradients
    plain = torch.optim.SGD(free.parameters(), lr=0.1)
    attach(plain, free)
    held = network().eval()
    optimizer = torch.optim.SGD(held.parameters(), lr=0.1)
    hold_masks(optimizer, held.named_parameters(), masks)
    attach(optimizer, held)
    for each, chosen in ((free, plain), (held, optimizer)):
        for p in each.parameters():
            p.grad = torch.zeros_like(p)
        chosen.step()
    for name, mask in masks.items():
        noisy = free.get_parameter(name)
        assert torch.equal(held.get_parameter(name)[mask], noisy[mask])
        assert noisy[~mask].any()


def test_parameter_groups_and_freezing():
    model = network()
    model[6].weight.requires_grad_(False)
    masks = masks_of(model)
    groups = [
        {"params": [model[0].weight], "lr": 0.5},
        {"params": [model[3].weight, model[0].bias], "lr": 0.01},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    hold_masks(optimizer, model.named_parameters(), masks)
    steps(model, optimizer)
    for name, mask in masks.items():
        assert not model.get_parameter(name)[~mask].any()


def test_removed_masks_let_go():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    handle = hold_masks(optimizer, model.named_parameters(), masks_of(model))
    assert handle.names == tuple(masks_of(model))
    steps(model, optimizer, 2)
    handle.remove()
    steps(model, optimizer, 2)
    assert all(p.all() for p in model.parameters())


def test_infinite_gradients_of_pruned_weights_do_no_harm():
    model = nn.Linear(4, 2, bias=False)
    mask = torch.tensor([[True, False, True, False]] * 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    hold_masks(optimizer, model.named_parameters(), {"weight": mask})
    for _ in range(2):
        model.weight.grad = torch.where(mask, 1.0, math.nan)
        optimizer.step()
    assert torch.isfinite(model.weight).all()
    assert not model.weight[~mask].any()


def test_masks_that_do_not_fit_are_all_named_and_nothing_changes():
    model = network()
    before = values(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrong = {
        "nowhere": torch.ones(2, 2, dtype=torch.bool),
        "0.weight": torch.zeros(12, 7, dtype=torch.bool),
        "3.weight": torch.zeros(9, 12),
        "6.weight": torch.zeros(3, 9, dtype=torch.bool),
    }
    with pytest.raises(InputError, match=r"nowhere.*0\.weight.*\(12, 6\).*3\.weight.*float32"):
        hold_masks(optimizer, model.named_parameters(), wrong)
    with pytest.raises(InputError, match=r"does not train 3\.weight"):
        hold_masks(
            torch.optim.SGD([model[0].weight], lr=0.1),
            model.named_parameters(),
            {"0.weight": ~wrong["0.weight"][:, :6], "3.weight": wrong["3.weight"].bool()},
        )
    assert same(before, values(model))


# rounds

ROUNDS, KAPPA = 3, 0.15
ARGUMENTS = {"strategy": MagnitudePruning(), "rounds": ROUNDS, "kappa": KAPPA, "seed": 7}
REWINDS = {
    "init": {"rewind": "init"},
    "step": {"rewind": "step", "rewind_step": 2},
    "learning-rate": {"rewind": "learning-rate", "rewind_step": 1},
    "none": {"rewind": "none"},
}


def train_round(model, chosen, count=5, seen=None):
    """Train with dropout, whose numbers come from the global generator, and noise."""
    if seen is not None:
        seen.append((chosen, values(model)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    chosen.hold(optimizer)
    noise = HeavyTailedNoise("type2", 1.8, 0.02)
    attach_noise(optimizer, model.named_parameters(), noise, seed=chosen.seed)
    for step in range(chosen.first_step + 1, chosen.first_step + count + 1):
        loss = steps(model, optimizer, 1)
        chosen.on_step(step)
    return loss


def recorded(model, **changes):
    seen = []
    arguments = ARGUMENTS | changes
    out = iterate(model, lambda m, r: train_round(m, r, seen=seen), **arguments)
    return out, seen


def test_shares_are_geometric_and_counts_exact():
    assert kept_shares(0.1, 1) == (0.1,)
    assert kept_shares(0.008, 3) == pytest.approx((0.2, 0.04, 0.008))
    out, seen = recorded(network())
    total = 6 * 12 + 12 * 9 + 9 * 3
    counts = [math.ceil(total * KAPPA ** (i / 3)) for i in (1, 2, 3)]
    assert [sum(int(m.sum()) for m in chosen.masks.values()) for chosen, _ in seen] == [
        total,
        *counts[:2],
    ]
    assert out.ticket.n_kept == counts[2]
    assert out.ticket.n_total == total
    assert out.ticket.shares == tuple(count / total for count in counts)
    assert out.ticket.kappa == out.ticket.shares[-1]
    assert len(out.losses) == 3


@pytest.mark.parametrize("strategy", [MagnitudePruning(), RandomPruning()])
def test_masks_are_nested_and_values_rewound_bit_for_bit(strategy):
    model = network()
    start = values(model)
    out, seen = recorded(model, strategy=strategy)
    states = [*seen, (out.ticket, values(model))]
    for (earlier, _), (later, now) in itertools.pairwise(states):
        for name, mask in later.masks.items():
            assert not (mask & ~earlier.masks[name]).any()
            assert torch.equal(now[name][mask], start[name][mask])
            assert not now[name][~mask].any()
        for name in start.keys() - later.masks.keys():
            assert torch.equal(now[name], start[name])
    assert out.ticket.rewind_step == 0
    assert [chosen.number for chosen, _ in seen] == [1, 2, 3]
    assert len({chosen.seed for chosen, _ in seen}) == 3
    assert [chosen.first_step for chosen, _ in seen] == [0, 0, 0]


def test_masks_are_the_largest_of_what_is_left():
    """Against a sort of the trained weights that are left."""
    trained = []

    def keep(model, chosen):
        loss = train_round(model, chosen)
        trained.append(values(model))
        return loss

    out = iterate(network(), keep, **ARGUMENTS)
    names = list(out.ticket.masks)
    last = torch.cat([trained[-1][name].flatten().abs() for name in names])
    kept = torch.cat([out.ticket.masks[name].flatten() for name in names])
    assert last[kept].min() > last[~kept].max()


def test_pruned_zeros_never_displace_zeros_that_stay():
    """All weights are 0 from the second round on: only the masks tell what is left."""

    def vanish(model, chosen):
        chosen.hold(torch.optim.SGD(model.parameters(), lr=0.1))
        with torch.no_grad():
            for p in model.parameters():
                p.zero_()
        return 1.0

    seen = []

    def watch(model, chosen):
        seen.append(chosen.masks)
        # the first weights in order, which ties favour, are pruned in the first round
        return train_round(model, chosen) if chosen.number == 1 else vanish(model, chosen)

    out = iterate(network(), watch, **ARGUMENTS, force=True)
    assert out.ticket.n_kept == math.ceil(207 * KAPPA)
    for name, mask in out.ticket.masks.items():
        assert not (mask & ~seen[-1][name]).any()


def test_rewinding_to_a_step():
    model = network()
    out, seen = recorded(model, **REWINDS["step"])
    # by hand: the first two steps of the first round
    alone, at_step = network(), []

    def first(model, chosen):
        assert chosen.number == 1
        loss = train_round(model, chosen, count=2)
        at_step.append(values(model))
        return loss

    iterate(alone, first, **(ARGUMENTS | REWINDS["step"] | {"rounds": 1}))
    now = values(model)
    for name, value in at_step[0].items():
        mask = out.ticket.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(now[name], torch.where(mask, value, torch.zeros_like(value)))
    assert [chosen.first_step for chosen, _ in seen] == [0, 2, 2]
    assert out.ticket.rewind_step == 2


def test_without_rewinding_of_weights_training_goes_on():
    for rewind, firsts in (("learning-rate", [0, 1, 1]), ("none", [0, 5, 10])):
        model, after = network(), []

        def keep(model, chosen, after=after):
            if after:  # what the round before left, pruned
                for name, mask in chosen.masks.items():
                    assert torch.equal(model.state_dict()[name], after[-1][name] * mask)
            loss = train_round(model, chosen)
            after.append(values(model) | {"first": chosen.first_step})
            return loss

        out = iterate(model, keep, **(ARGUMENTS | REWINDS[rewind]))
        assert [state["first"] for state in after] == firsts
        assert out.ticket.rewind_step is None
        for name, mask in out.ticket.masks.items():
            assert torch.equal(model.state_dict()[name], after[-1][name] * mask)


class Killed(BaseException):
    """Stands for a kill in mid-run."""


@pytest.mark.parametrize("rewind", REWINDS)
@pytest.mark.parametrize("killed_in", [1, 2, 3])
def test_killed_run_resumes_bit_for_bit(tmp_path, rewind, killed_in):
    arguments = ARGUMENTS | REWINDS[rewind]
    whole_model = network()
    whole = iterate(whole_model, train_round, **arguments)
    path = tmp_path / "rounds.safetensors"

    def killed(model, chosen):
        loss = train_round(model, chosen)
        if chosen.number == killed_in:
            raise Killed
        return loss

    with pytest.raises(Killed):
        iterate(network(), killed, **arguments, checkpoint=path)
    assert path.exists() == (killed_in > 1)
    # another initialisation: everything comes from the file, if there is one
    model, torch_state = network(0 if killed_in == 1 else 5), torch.get_rng_state()
    resumed, seen = recorded(model, **arguments, checkpoint=path)
    assert [chosen.number for chosen, _ in seen] == list(range(killed_in, 4))
    assert torch.equal(torch_state, torch.get_rng_state())
    for final in (resumed, iterate(network(9), pytest.fail, **arguments, checkpoint=path)):
        assert same(dict(whole.ticket.masks), dict(final.ticket.masks))
        assert whole.ticket.shares == final.ticket.shares
        assert whole.ticket.rewind_step == final.ticket.rewind_step
        assert whole.losses == final.losses
    assert same(values(whole_model), values(model))


@pytest.mark.parametrize("poison", ["loss", "weights"])
def test_divergence_names_the_round_and_loses_nothing(tmp_path, poison):
    path = tmp_path / "rounds.safetensors"
    start = {}

    def diverging(model, chosen):
        if chosen.number == 2:
            start.update(values(model))
        loss = train_round(model, chosen)
        if chosen.number == 2 and poison == "weights":
            with torch.no_grad():
                model[0].weight[chosen.masks["0.weight"]] = math.inf
        return math.nan if chosen.number == 2 and poison == "loss" else loss

    model = network()
    with pytest.raises(PrunableError, match=r"round 2 of 3 diverged") as caught:
        iterate(model, diverging, **ARGUMENTS, checkpoint=path)
    assert ("0.weight" if poison == "weights" else "nan") in str(caught.value)
    assert same(values(model), start)
    reference, resumed = network(), network(4)
    whole = iterate(reference, train_round, **ARGUMENTS)
    again = iterate(resumed, train_round, **ARGUMENTS, checkpoint=path)
    assert same(values(reference), values(resumed))
    assert whole.losses == again.losses


def test_damaged_or_foreign_checkpoints_are_refused(tmp_path):
    path = tmp_path / "rounds.safetensors"
    iterate(network(), train_round, **ARGUMENTS, checkpoint=path)
    content = path.read_bytes()
    for changes, culprit in (
        ({"kappa": 0.2}, "kappa"),
        ({"seed": 8}, "seed"),
        ({"rewind": "none"}, "rewind"),
        ({"strategy": RandomPruning()}, "strategy"),
        ({"exclude": ["6.weight"]}, "shapes"),
    ):
        with pytest.raises(DataIntegrityError, match=f"another run.*{culprit}"):
            iterate(network(), pytest.fail, **(ARGUMENTS | changes), checkpoint=path)
    with pytest.raises(DataIntegrityError, match=r"another run.*model"):
        iterate(network().double(), pytest.fail, **ARGUMENTS, checkpoint=path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataIntegrityError, match=r"rounds\.safetensors"):
        iterate(network(), pytest.fail, **ARGUMENTS, checkpoint=path)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataIntegrityError, match="digest"):
        iterate(network(), pytest.fail, **ARGUMENTS, checkpoint=path)


def test_hooks_are_gone_after_the_rounds():
    optimizers = []

    def keep(model, chosen):
        optimizers.append(torch.optim.SGD(model.parameters(), lr=0.2))
        chosen.hold(optimizers[-1])
        return steps(model, optimizers[-1])

    model = network()
    iterate(model, keep, **ARGUMENTS)
    for optimizer in optimizers:
        steps(model, optimizer, 1)
    assert all(p.all() for p in model.parameters())


def test_careless_training_is_told():
    def forgets_masks(model, _):
        return steps(model, torch.optim.SGD(model.parameters(), lr=0.1))

    with pytest.raises(InputError, match=r"moved pruned weights in round 2 of 3"):
        iterate(network(), forgets_masks, **ARGUMENTS)
    with pytest.raises(InputError, match=r"did not tell step 9"):
        iterate(network(), train_round, **ARGUMENTS, rewind="step", rewind_step=9)

    def flattens(model, chosen):
        loss = train_round(model, chosen)
        with torch.no_grad():
            model[6].weight.mul_(1e-6)
        return loss

    model, before = network(), values(network())
    with pytest.raises(InputError, match=r"round 1 of 3 leaves nothing of 6\.weight"):
        iterate(model, flattens, **ARGUMENTS)
    assert same(before, values(model))
    forced = iterate(model, flattens, **ARGUMENTS, force=True)
    assert not forced.ticket.masks["6.weight"].any()


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"rounds": 0}, "rounds"),
        ({"kappa": 0.0}, "kappa"),
        ({"kappa": math.nan}, "kappa"),
        ({"rewind": "back"}, "rewind"),
        ({"rewind": "step"}, "rewind_step"),
        ({"rewind_step": 3}, "rewind_step"),
        ({"strategy": NodePruning()}, "single weights"),
        ({"only": ["nowhere"]}, "nowhere"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments_are_named_before_training(changes, culprit):
    with pytest.raises(InputError, match=culprit):
        iterate(network(), pytest.fail, **(ARGUMENTS | changes))


# tickets


def ticket(**changes):
    model = network()
    fields = {"masks": masks_of(model), "seed": 2**62 + 1, "rewind_step": 3, "shares": (0.7, 0.1)}
    return Ticket(**(fields | changes))


@pytest.mark.parametrize("rewind_step", [None, 0, 12])
def test_ticket_round_trip(tmp_path, rewind_step):
    odd = {"a": torch.rand(3, 5, 7) < 0.5, "b": torch.zeros(1, 1, dtype=torch.bool)}
    kept = ticket(masks=odd, rewind_step=rewind_step)
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, kept)
    again = load_ticket(path)
    assert list(again.masks) == ["a", "b"]
    assert same(dict(kept.masks), dict(again.masks))
    assert (again.seed, again.rewind_step, again.shares) == (2**62 + 1, rewind_step, (0.7, 0.1))
    stored, _ = load_tensors(path)
    assert {name: x.numel() for name, x in stored.items()} == {"mask/a": 14, "mask/b": 1}


def test_every_damage_to_a_ticket_is_noticed(tmp_path):
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, ticket())
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end]
    places = [end, len(content) - 1, 8 + header.index(b"0.7"), 8 + header.index(b"digest") + 12]
    damaged = [content[: len(content) - 1], content[:20], b"", b"something else"]
    damaged += [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in places]
    for broken in damaged:
        path.write_bytes(broken)
        with pytest.raises(DataIntegrityError, match=r"ticket\.safetensors"):
            load_ticket(path)
    path.unlink()
    with pytest.raises(DataIntegrityError, match="missing"):
        load_ticket(path)


def test_files_that_are_no_tickets_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_tensors(path, {"a": torch.ones(2)})
    with pytest.raises(DataIntegrityError, match="not a ticket"):
        load_ticket(path)
    iterate(network(), train_round, **ARGUMENTS, checkpoint=tmp_path / "rounds.safetensors")
    with pytest.raises(DataIntegrityError, match="not a ticket"):
        load_ticket(tmp_path / "rounds.safetensors")


def test_tickets_apply_to_their_model_only():
    model, drawn = network(), ticket()
    before = values(model)
    apply_ticket_(model, drawn)
    for name, value in values(model).items():
        mask = drawn.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value[mask], before[name][mask])
        assert not value[~mask].any()
    other = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 9))
    before = values(other)
    with pytest.raises(InputError, match=r"apply_ticket_.*3\.weight"):
        apply_ticket_(other, drawn)
    assert same(before, values(other))
    with pytest.raises(InputError, match="masks"):
        ticket(masks={})
    with pytest.raises(InputError, match=r"masks.*a"):
        ticket(masks={"a": torch.ones(2)})


def test_controls_keep_the_counts():
    drawn = ticket()
    shuffled = shuffle_masks(drawn, np.random.default_rng(0))
    pooled = random_ticket(drawn, np.random.default_rng(0))
    for name, mask in drawn.masks.items():
        assert shuffled.masks[name].sum() == mask.sum()
        assert shuffled.masks[name].shape == pooled.masks[name].shape == mask.shape
        assert not torch.equal(shuffled.masks[name], mask)
    assert pooled.n_kept == drawn.n_kept
    for control in (shuffled, pooled):
        assert (control.seed, control.shares) == (drawn.seed, drawn.shares)
    again = shuffle_masks(drawn, np.random.default_rng(0))
    assert same(dict(again.masks), dict(shuffled.masks))


def test_controls_are_uniform():
    """Each weight stays as often as any other; 7 standard deviations, about 1e-10 of failing."""
    masks = {"a": torch.arange(8) < 6, "b": torch.arange(8) < 2}
    drawn, rng, n = ticket(masks=masks), np.random.default_rng(1), 2000
    for control, expected in (
        (shuffle_masks, {"a": 0.75, "b": 0.25}),
        (random_ticket, {"a": 0.5, "b": 0.5}),
    ):
        found = [control(drawn, rng).masks for _ in range(n)]
        for name, share in expected.items():
            means = torch.stack([m[name].double() for m in found]).mean(0)
            assert (means - share).abs().max() < 7 * math.sqrt(share * (1 - share) / n)


def test_a_found_ticket_beats_random_masks_on_digits():
    """A tenth of the weights, trained anew from the same start, against masks at random."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = torch.tensor(digits.data[order] / 16, dtype=torch.float32)
    y = torch.tensor(digits.target[order])

    def start():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def fit(model, hold):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        hold(optimizer)
        for _ in range(120):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x[:900]), y[:900])
            loss.backward()
            optimizer.step()
        return loss.item()

    def accuracy(chosen):
        model = start()
        apply_ticket_(model, chosen)
        fit(model, lambda o: hold_masks(o, model.named_parameters(), chosen.masks))
        return (model(x[900:]).argmax(1) == y[900:]).double().mean().item()

    out = iterate(
        start(), lambda m, r: fit(m, r.hold), strategy=MagnitudePruning(), rounds=4, kappa=0.1
    )
    assert out.ticket.n_kept == math.ceil(0.1 * (64 * 32 + 32 * 10))
    found = accuracy(out.ticket)
    rng = np.random.default_rng(0)
    controls = [accuracy(shuffle_masks(out.ticket, rng)), accuracy(random_ticket(out.ticket, rng))]
    assert found > 0.85
    assert found > max(controls) + 0.05
