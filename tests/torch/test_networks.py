"""Modules of PyTorch as predictors, and the networks of the package; skipped without torch."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparkml_lsml.engine.blocks import Block
from sparkml_lsml.engine.objective import BlockObjective, LocalBlocks
from sparkml_lsml.engine.penalties import L2
from sparkml_lsml.engine.predictors import Standardization
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.engine.solvers import LocalSteps, minimize
from sparkml_lsml.errors import BackendError, ParamError
from sparkml_lsml.losses import Huber, Logistic, Multinomial, Squared
from sparkml_lsml.networks import registry
from sparkml_lsml.networks.factory import Factory

torch = pytest.importorskip("torch", reason="torch is not installed: ./dev/test --torch")
nn, functional = torch.nn, torch.nn.functional

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

IMAGE, TOKENS, VECTORS = (2, 16, 16), (12,), (7, 5)
VOCABULARY = 30
WORDS = {"vocabulary": VOCABULARY, "embedding": 6}

NETWORKS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "cnn": ("cnn", IMAGE, {"channels": [3, 4], "kernel": 3, "units": [5], "scale": 0.5}),
    "cnn, normalized": ("cnn", IMAGE, {"channels": [4], "padding": 2, "normalize": True}),
    "resnet-small": ("resnet-small", IMAGE, {"channels": [4, 6], "blocks": 2}),
    "gru": ("gru", VECTORS, {"units": 4, "layers": 2}),
    "gru of tokens": ("gru", TOKENS, {"units": 4, "bidirectional": True, **WORDS}),
    "lstm": ("lstm", VECTORS, {"units": 4}),
    "lstm of tokens": ("lstm", TOKENS, {"units": 4, **WORDS}),
    "attention": ("attention", VECTORS, {"units": 8, "heads": 2, "layers": 1}),
    "attention of tokens": ("attention", TOKENS, {"units": 8, "heads": 2, **WORDS}),
    "embeddings": ("embeddings", TOKENS, WORDS),
}


def predictor(what: str, outputs: int = 3, **more: Any) -> ModulePredictor:
    name, shape, arguments = NETWORKS[what]
    return ModulePredictor.of(registry.find(name), shape, outputs, json.dumps(arguments), **more)


def rows_of(what: str, rows: int = 9) -> Floats:
    """Rows of the shape of a network: pixels, vectors, or tokens with padding behind them."""
    rng = np.random.default_rng(5)
    _, shape, arguments = NETWORKS[what]
    if "vocabulary" not in arguments:
        return rng.normal(size=(rows, int(np.prod(shape)))).astype(np.float32)
    tokens = rng.integers(1, VOCABULARY, size=(rows, *shape))
    tokens[:, 8:] = 0
    tokens[0] = 0
    return tokens.astype(np.float32)


def module_of(network: ModulePredictor, coef: Array) -> Any:
    """A module with these numbers, by its own way to load them."""
    module = network.factory.built(network.shape, network.outputs, network.arguments)
    state = {
        each.name: torch.from_numpy(coef[network.places[each.name]].copy()).view(each.shape)
        for each in network.tensors
    }
    module.load_state_dict(state)
    return module.eval()


def gradient_of(module: Any) -> Array:
    found = [each.grad.numpy().ravel() for each in module.parameters()]
    return np.concatenate(found).astype(np.float64)


def theirs(name: str, raw: Any, y: Any) -> Any:
    """The loss of all rows as PyTorch has it."""
    match name:
        case "multinomial":
            return functional.cross_entropy(raw, y.long(), reduction="sum")
        case "squaredError":
            return 0.5 * functional.mse_loss(raw[:, 0], y, reduction="sum")
        case "logistic":
            return functional.binary_cross_entropy_with_logits(raw[:, 0], y, reduction="sum")
    raise AssertionError(name)


@pytest.mark.parametrize("loss", [Multinomial(), Squared(), Logistic()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("what", NETWORKS)
def test_loss_and_gradient_are_torchs(what: str, loss: Any) -> None:
    outputs = 3 if loss.name == "multinomial" else 1
    network = predictor(what, outputs)
    X = rows_of(what)
    y = np.arange(len(X)) % (outputs if outputs > 1 else 2) * 1.0
    coef = network.start(seed=3)
    raw, pull = network.raw_and_pullback(X, coef[None, :])
    values, derivative = loss.value_and_derivative(y, raw)
    found = np.zeros((1, network.layout.size))
    pull(derivative, found)
    module = module_of(network, coef.astype(np.float32))
    expected = theirs(
        loss.name, module(torch.from_numpy(X).view(-1, *network.shape)), torch.from_numpy(y).float()
    )
    expected.backward()
    assert values.sum() == pytest.approx(expected.item(), rel=1e-6)
    gradient = gradient_of(module)
    at = slice(0, len(gradient))
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(found[0, at] / scale, gradient / scale, rtol=0, atol=1e-6)
    # raw predictions, one by one and as scores
    np.testing.assert_allclose(network.raw(X, coef[None, :]), raw, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(network.scoring(coef)(X), raw[:, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("what", [each for each in NETWORKS if "vocabulary" in NETWORKS[each][2]])
def test_padding_changes_nothing(what: str) -> None:
    """Fifty zeros more, in a network of longer rows with the same numbers."""
    network, X = predictor(what), rows_of(what)
    name, shape, arguments = NETWORKS[what]
    longer = ModulePredictor.of(registry.find(name), (shape[0] + 50,), 3, json.dumps(arguments))
    assert [each.shape for each in longer.tensors] == [each.shape for each in network.tensors]
    coef = network.start(seed=4)
    padded = np.hstack([X, np.zeros((len(X), 50), dtype=np.float32)])
    expected = network.scoring(coef)(X)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(longer.scoring(coef)(padded), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("what", ["gru of tokens", "attention of tokens"])
def test_the_order_of_tokens_matters(what: str) -> None:
    network, X = predictor(what), rows_of(what)
    turned = X.copy()
    turned[:, :8] = turned[:, 7::-1]
    found = [network.scoring(network.start(seed=4))(each) for each in (X, turned)]
    assert np.abs(found[0] - found[1])[1:].max(axis=1).min() > 1e-3


def test_images_are_in_c_order_and_scaled() -> None:
    """A convolution whose kernel looks at one pixel beside it finds it there."""

    def shifted(shape: tuple[int, ...], outputs: int) -> Any:
        convolution = nn.Conv2d(2, 1, (1, 2), bias=False)
        return nn.Sequential(convolution, nn.Flatten(), nn.Linear(6, outputs, bias=False))

    network = ModulePredictor.of(Factory("shifted", shifted), (2, 2, 4), 1)
    image = np.arange(16.0).reshape(2, 2, 4)
    coef = np.zeros(network.layout.size)
    coef[network.places["0.weight"]] = [0.0, 1.0, 0.0, 0.0]  # the right neighbour in channel 0
    coef[network.places["2.weight"]] = [1.0, 10.0, 100.0, 0.0, 0.0, 1000.0]
    raw = network.scoring(coef)(image.reshape(1, -1))
    expected = image[0, 0, 1] + 10 * image[0, 0, 2] + 100 * image[0, 0, 3] + 1000 * image[0, 1, 3]
    np.testing.assert_array_equal(raw, [[expected]])


def normalised(shape: tuple[int, ...], outputs: int) -> Any:
    """A network with running means and with dropout."""
    return nn.Sequential(
        nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, outputs)
    )


def test_buffers_follow_training_and_are_not_optimised() -> None:
    network = ModulePredictor.of(Factory("normalised", normalised), (4,), 2)
    buffered = network.layout.buffered
    assert buffered.stop - buffered.start == 8 + 8 + 1
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    w = network.start(seed=1).astype(np.float32)
    before = w.copy()
    raw, pull = network.raw_and_pullback(X, w[None, :], np.random.default_rng(2))
    gradient = np.zeros_like(w)[None, :]
    pull(np.ones_like(raw), gradient)
    assert not gradient[:, buffered].any()
    np.testing.assert_array_equal(w[: buffered.start], before[: buffered.start])
    first = X @ before[network.places["0.weight"]].reshape(8, 4).T
    first += before[network.places["0.bias"]]
    # a tenth of the way from 0 to the mean of the batch, and one batch seen
    mean = w[network.places["1.running_mean"]]
    np.testing.assert_allclose(mean, 0.1 * first.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert w[network.places["1.num_batches_tracked"]] == 1.0
    # passes that do not train leave them
    kept = w.copy()
    network.raw_and_pullback(X, w[None, :])
    network.raw(X, w[None, :])
    np.testing.assert_array_equal(w, kept)


def test_a_network_is_told_from_another_of_its_tensors() -> None:
    """As checkpoints have to, after a cell of a notebook has registered it anew."""

    def network(activation: Any) -> ModulePredictor:
        def make(shape: tuple[int, ...], outputs: int) -> Any:
            return nn.Sequential(nn.Linear(shape[0], 3), activation(), nn.Linear(3, outputs))

        return ModulePredictor.of(Factory("mine", make), (4,), 2)

    tanh, again, relu = (network(each) for each in (nn.Tanh, nn.Tanh, nn.ReLU))
    assert tanh.tensors == relu.tensors
    assert tanh.samples() == again.samples() != relu.samples()
    # negative running variances, and tokens that are out of range
    found = ModulePredictor.of(Factory("normalised", normalised), (4,), 2).samples()
    assert len(found) == 4
    assert np.isfinite(found).all()
    assert len(predictor("embeddings").samples()) == 6


def test_what_is_drawn_follows_from_the_generator_alone() -> None:
    network = ModulePredictor.of(Factory("normalised", normalised), (4,), 2)
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    coef = network.start(seed=1).astype(np.float32)[None, :]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    drawn = [
        network.raw_and_pullback(X, coef.copy(), np.random.default_rng(seed))[0]
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    np.testing.assert_array_equal(network.start(seed=1), network.start(seed=1))
    assert (network.start(seed=1) != network.start(seed=2)).any()
    # the user's own generator goes on as if nothing had been drawn
    np.testing.assert_array_equal(torch.rand(3), expected)


def test_models_of_a_batch_do_not_see_each_other() -> None:
    network, X = predictor("cnn"), rows_of("cnn")
    batch = np.stack([network.start(seed) for seed in (1, 2)])
    raw, pull = network.raw_and_pullback(X, batch)
    together = np.zeros_like(batch)
    pull(np.ones_like(raw), together)
    for k, one in enumerate(batch):
        alone, pull = network.raw_and_pullback(X, one[None, :])
        gradient = np.zeros((1, len(one)))
        pull(np.ones_like(alone), gradient)
        np.testing.assert_array_equal(raw[:, k], alone[:, 0])
        np.testing.assert_array_equal(together[k], gradient[0])


def test_scale_and_centre_are_those_of_the_labels() -> None:
    network = predictor("gru", 1, constants=1)
    labels = ModulePredictor.of(
        network.factory, network.shape, 1, network.arguments, constants=1, scale=50.0, centre=7.0
    )
    X, coef = rows_of("gru"), network.start(seed=1)[None, :]
    assert coef[0, network.layout.extras] == [1.0]
    plain, pull = network.raw_and_pullback(X, coef)
    scaled, scaled_pull = labels.raw_and_pullback(X, coef)
    np.testing.assert_allclose(scaled[:, :, 0], 50.0 * plain[:, :, 0] + 7.0)
    np.testing.assert_array_equal(scaled[:, :, 1], plain[:, :, 1])
    gradients = np.zeros((2, 1, network.layout.size))
    pull(np.full_like(plain, 2.0), gradients[0])
    scaled_pull(np.full_like(plain, 2.0), gradients[1])
    extras = network.layout.extras
    np.testing.assert_allclose(
        gradients[1, 0, : extras.start],
        50.0 * gradients[0, 0, : extras.start],
        rtol=1e-5,
        atol=1e-4,
    )
    assert gradients[1, 0, extras] == gradients[0, 0, extras] == 2.0 * len(X)
    assert labels.scoring(coef[0])(X) == pytest.approx(scaled[:, 0, :1], rel=1e-6)


def test_weights_are_penalised_and_nothing_else() -> None:
    network = ModulePredictor.of(Factory("normalised", normalised), (4,), 2)
    decayed = np.zeros(network.layout.size, dtype=bool)
    for at in network.layout.decayed:
        decayed[at] = True
    weights = {
        name for name, at in network.places.items() if decayed[at].all() and at.stop > at.start
    }
    assert weights == {"0.weight", "4.weight"}
    assert decayed.sum() == 4 * 8 + 8 * 2


def test_bfloat16_is_near() -> None:
    X = rows_of("cnn")
    coef = predictor("cnn").start(seed=1)[None, :]
    found = [predictor("cnn", precision=name).raw(X, coef) for name in ("float32", "bfloat16")]
    assert (found[0] != found[1]).any()
    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("blocks", [1, 3])
def test_local_steps_learn_what_only_order_tells(blocks: int) -> None:
    """Whether 1 comes before 2 among other tokens: no count of them knows."""
    rng = np.random.default_rng(3)
    X = rng.integers(3, 8, size=(900, 6))
    y = rng.integers(0, 2, size=900)
    for row, label in zip(X, y, strict=True):
        early, late = sorted(rng.choice(6, size=2, replace=False))
        row[early], row[late] = (1, 2) if label else (2, 1)
    arguments = json.dumps({"units": 12, "vocabulary": 8, "embedding": 8})
    network = ModulePredictor.of(registry.find("gru"), (6,), 2, arguments)
    pieces = [Block(X[k::blocks].astype(np.float32), y[k::blocks] * 1.0) for k in range(blocks)]
    units = Standardization.identity(network.layout)
    objective = BlockObjective(LocalBlocks(pieces), Multinomial(), network, units)
    solver = LocalSteps(step_size=0.02, batch_size=20, max_epochs=12)
    start = network.start(seed=1)[None, :]
    [found] = minimize(objective, L2(0.0), solver, start, max_iter=12)
    chosen = network.scoring(found.coef)(X).argmax(axis=1)
    assert (chosen == y).mean() > 0.99


# ---------------------------------------------------- bad input


def test_a_regression_with_hubers_scale_is_tried_with_it() -> None:
    network = predictor("lstm", 1, constants=len(Huber().constants))
    assert network.raw(rows_of("lstm"), network.start(1)[None, :]).shape == (9, 1, 2)


def silent(shape: tuple[int, ...], outputs: int) -> Any:
    return nn.Flatten()


def lazy(shape: tuple[int, ...], outputs: int) -> Any:
    return nn.LazyLinear(outputs)


def no_module(shape: tuple[int, ...], outputs: int) -> Any:
    return "network"


def too_wide(shape: tuple[int, ...], outputs: int) -> Any:
    return nn.Linear(shape[0], outputs + 1)


def flat(shape: tuple[int, ...], outputs: int) -> Any:
    return nn.Sequential(nn.Linear(shape[0], 1), nn.Flatten(0))


def other_rows(shape: tuple[int, ...], outputs: int) -> Any:
    return nn.Linear(shape[0] + 3, outputs)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (silent, ["network 'mine' has no parameters: expected some to train"]),
        (lazy, ["parameter weight without a shape", "call the module once"]),
        (no_module, ["made a builtins.str: expected a torch.nn.Module"]),
        (too_wide, ["returned shape [2, 2] for 2 rows: expected shape [2, 1]"]),
        (flat, ["returned shape [2] for 2 rows: expected shape [2, 1]"]),
        (other_rows, ["failed on rows of shape [2, 4]: RuntimeError: mat1 and mat2"]),
        (lambda shape: None, ["could not be made for rows of shape [4], 1 outputs", "TypeError"]),
    ],
    ids=["no parameters", "lazy", "no module", "outputs", "flat", "rows", "arguments"],
)
def test_case_73_factories_that_make_no_network(make: Any, parts: list[str]) -> None:
    with pytest.raises(ParamError) as caught:
        ModulePredictor.of(Factory("mine", make), (4,), 1)
    for part in parts:
        assert part in str(caught.value)


def test_case_73_shapes_that_are_drawn() -> None:
    sizes = iter([3, 5, 3, 3])

    def drawn(shape: tuple[int, ...], outputs: int) -> Any:
        hidden = next(sizes)
        return nn.Sequential(nn.Linear(shape[0], hidden), nn.Linear(hidden, outputs))

    network = ModulePredictor.of(Factory("drawn", drawn), (4,), 1)
    network.check()
    # what another worker would make
    other = ModulePredictor(Factory("drawn", drawn), (4,), 1, "{ }", network.tensors)
    with pytest.raises(ParamError, match=r"made another module here than on the driver: found"):
        other.check()


@pytest.mark.parametrize(
    ("what", "shape", "more", "told"),
    [
        ("cnn", (4,), {}, "expected inputShape=[channels, height, width]"),
        ("cnn", (1, 6, 6), {}, "too small for 2 convolutions of 5 x 5 with pooling"),
        ("gru", (12,), {}, "expected inputShape=[length, features], or [length] and a vocabulary"),
        ("gru", (3, 4), {"vocabulary": 5}, "expected inputShape=[length]"),
        ("attention", (3, 4), {"units": 9}, "units=9 and heads=4: expected an even number"),
        ("embeddings", (3,), {}, "missing 1 required keyword-only argument: 'vocabulary'"),
        ("cnn", (1, 28, 28), {"chanels": [3]}, "unexpected keyword argument 'chanels'"),
    ],
)
def test_case_70_shapes_and_arguments_that_do_not_fit(
    what: str, shape: tuple[int, ...], more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ParamError) as caught:
        ModulePredictor.of(registry.find(what), shape, 2, json.dumps(more))
    assert told in str(caught.value)


@pytest.mark.parametrize("token", [-1, VOCABULARY, 1e9])
def test_case_77_tokens_out_of_range(token: float) -> None:
    network, X = predictor("embeddings"), rows_of("embeddings")
    X[3, 2] = token
    with pytest.raises(ParamError, match=r"expected 0, for padding, to 29"):
        network.raw(X, network.start(1)[None, :])


def test_case_74_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for work in (
        lambda: registry.find("cnn"),
        lambda: Factory("mine", silent).built((4,), 1, "{}"),
    ):
        with pytest.raises(
            BackendError, match=r"torch is not installed here .*sparkml_lsml\[torch\]"
        ):
            work()
