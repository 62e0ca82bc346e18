"""Layers and whole networks against JAX, values and derivatives, in float64."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from celestepy.deblend.learned import PixelCNNPrior, ScorePrior, trained_priors
from celestepy.deblend.learned.stamps import DATA
from celestepy.nn import (
    ELU,
    ConcatELU,
    Conv2d,
    Dense,
    Gate,
    GroupNorm,
    Modulation,
    PixelShuffle,
    PixelUnshuffle,
    Residual,
    Sequential,
    SiLU,
    Sum,
    TransposedConv2d,
    Upsample,
    build_network,
    load_network_file,
    pixelcnn,
    score_unet,
)

pytestmark = pytest.mark.validation
jax = pytest.importorskip("jax", reason="JAX is not installed: pip install celestepy[deep]")
jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed: pip install celestepy[deep]")
TRAINING = Path(__file__).parents[2] / "examples" / "training"
LAYOUT = ("NHWC", "HWIO", "NHWC")
RNG = np.random.default_rng(8)


@pytest.fixture(scope="module", autouse=True)
def double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def compare(forward, vjp, jvp, function, x):
    """Ours against ``function``; 1e-12 of the largest value is a few thousand roundings."""
    y, tape = forward(x)
    expected, pull = jax.vjp(function, x)
    cotangent, tangent = RNG.standard_normal(y.shape), RNG.standard_normal(x.shape)
    for ours, theirs in (
        (y, expected),
        (vjp(tape, cotangent), pull(jnp.asarray(cotangent))[0]),
        (jvp(tape, tangent), jax.jvp(function, (x,), (tangent,))[1]),
    ):
        theirs = np.asarray(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())


def convolve(x, weight, bias, stride=1, dilation=1):
    pads = [(dilation * (side // 2),) * 2 for side in weight.shape[:2]]
    y = jax.lax.conv_general_dilated(
        x, weight, (stride, stride), pads, rhs_dilation=(dilation, dilation), dimension_numbers=LAYOUT
    )
    return y + bias


def group_normalise(x, weight, bias, groups):
    grouped = x.reshape(*x.shape[:3], groups, -1)
    centred = grouped - grouped.mean((1, 2, 4), keepdims=True)
    normal = centred / jnp.sqrt(grouped.var((1, 2, 4), keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * weight + bias


def depth_to_space(x):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


def space_to_depth(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


WEIGHT, BIAS = RNG.standard_normal((3, 3, 4, 5)), RNG.standard_normal(5)
SCALE, SHIFT = RNG.standard_normal((2, 4))
# the transpose of a convolution with stride 2 that pads one zero on each side and makes 2 h x 2 w pixels h x w
TRANSPOSED_PADS = ((1, 2), (1, 2))
LAYERS = {
    "silu": (SiLU(), lambda x: jax.nn.silu(x)),
    "elu": (ELU(), lambda x: jax.nn.elu(x)),
    "concat_elu": (ConcatELU(), lambda x: jax.nn.elu(jnp.concatenate([x, -x], -1))),
    "gate": (Gate(), lambda x: jax.nn.glu(x, -1)),
    "dense": (Dense(WEIGHT[0, 0], BIAS), lambda x: x @ WEIGHT[0, 0] + BIAS),
    "shuffle": (PixelShuffle(2), depth_to_space),
    "unshuffle": (PixelUnshuffle(2), space_to_depth),
    "residual": (
        Residual(Sequential([Conv2d(WEIGHT[..., :4], BIAS[:4]), SiLU()])),
        lambda x: x + jax.nn.silu(convolve(x, WEIGHT[..., :4], BIAS[:4])),
    ),
    "sum": (
        Sum([Sequential([Conv2d(WEIGHT, BIAS)]), Sequential([SiLU(), Conv2d(WEIGHT, BIAS)])]),
        lambda x: convolve(x, WEIGHT, BIAS) + convolve(jax.nn.silu(x), WEIGHT, BIAS),
    ),
    "upsample": (Upsample(2), lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)),
    "norm": (GroupNorm(SCALE, SHIFT, 2), lambda x: group_normalise(x, SCALE, SHIFT, 2)),
    "conv": (Conv2d(WEIGHT, BIAS), lambda x: convolve(x, WEIGHT, BIAS)),
    "stride": (Conv2d(WEIGHT, BIAS, stride=2), lambda x: convolve(x, WEIGHT, BIAS, 2)),
    "dilation": (Conv2d(WEIGHT, BIAS, dilation=3), lambda x: convolve(x, WEIGHT, BIAS, 1, 3)),
    "transposed": (
        TransposedConv2d(WEIGHT.swapaxes(2, 3), BIAS, 2),
        lambda x: BIAS + jax.lax.conv_general_dilated(
            x, WEIGHT[::-1, ::-1], (1, 1), TRANSPOSED_PADS, lhs_dilation=(2, 2), dimension_numbers=LAYOUT
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    layer, function = LAYERS[name]
    compare(layer.forward, layer.vjp, layer.jvp, function, RNG.standard_normal((2, 6, 8, 4)))


LIVE = {  # taps of a 3x3 kernel
    "above": [[1, 1, 1], [0, 0, 0], [0, 0, 0]],
    "rows": [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
    "left": [[0, 0, 0], [1, 0, 0], [0, 0, 0]],
    "row": [[0, 0, 0], [1, 1, 0], [0, 0, 0]],
    "before": [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
    "here": [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
}


@pytest.mark.parametrize("mask", LIVE)
def test_masked_convolution(mask):
    weight = WEIGHT * np.array(LIVE[mask])[:, :, None, None]
    layer = Conv2d(WEIGHT, BIAS, dilation=2, mask=mask)
    x = RNG.standard_normal((2, 6, 8, 4))
    compare(layer.forward, layer.vjp, layer.jvp, lambda x: convolve(x, weight, BIAS, 1, 2), x)


def test_modulation():
    weight, bias, context = RNG.standard_normal((3, 8)), RNG.standard_normal(8), RNG.standard_normal((2, 3))
    scale, shift = np.split((context @ weight + bias)[:, None, None], 2, axis=-1)
    layer, x = Modulation(weight, bias), RNG.standard_normal((2, 6, 8, 4))
    compare(lambda x: layer.forward(x, context), layer.vjp, layer.jvp, lambda x: x * (1 + scale) + shift, x)


@pytest.fixture(scope="module")
def trained():
    """The module of the training scripts that defines the networks."""
    pytest.importorskip("equinox", reason="Equinox is not installed: pip install celestepy[deep]")
    spec = importlib.util.spec_from_file_location("jax_network", TRAINING / "jax_network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("description", "shape"), [(score_unet(), (2, 32, 32, 1)), (pixelcnn(8), (2, 12, 10, 1))])
def test_network_as_trained(trained, description, shape):
    start = trained.Network.start(description, jax.random.PRNGKey(0))
    arrays = {name: array + 0.05 * RNG.standard_normal(array.shape) for name, array in start.numbers.items()}
    theirs = trained.Network({name: jnp.asarray(array) for name, array in arrays.items()}, start.text)
    ours, sigma = build_network(description, arrays, np.float64), np.array([0.05, 0.7])
    x = RNG.standard_normal(shape)
    compare(lambda x: ours.forward(x, sigma), ours.vjp, ours.jvp, lambda x: theirs(x, jnp.log(sigma)), x)


@pytest.mark.parametrize("name", [name for name in trained_priors() if name.startswith("score-")])
def test_trained_score(trained, name):
    prior = ScorePrior.load(name, dtype=np.float64)
    function = trained.load_score(DATA / f"{name}.npz")
    stamps = prior.mean + 0.3 * RNG.standard_normal((2, *prior.shape))
    expected = np.asarray(function(jnp.asarray(stamps), 0.1))
    # 1e-10 of the largest: float64 through 40 layers, and ln sigma taken in another order
    np.testing.assert_allclose(prior.score(stamps, 0.1), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in trained_priors() if name.startswith("pixelcnn-")])
def test_trained_pixelcnn(trained, name):
    """Log density and score are those of the function that the training maximises."""
    prior = PixelCNNPrior.load(name, temperature=0.2)
    file = load_network_file(DATA / f"{name}.npz")
    numbers = {name: jnp.asarray(array, float) for name, array in file.arrays.items()}
    network, scale = trained.Network(numbers, json.dumps(file.description)), file.metadata["scale"]

    def log_density(x):
        unit = jnp.hypot(scale, 0.2)
        scaled = ((x - prior.mean) / unit)[..., None]
        weight, mean, width = jnp.split(network(scaled, jnp.full(len(x), jnp.log(0.2))), 3, -1)
        spread = jnp.sqrt((0.2 / unit) ** 2 + jnp.exp(2 * width))
        each = jax.nn.log_softmax(weight) + jax.scipy.stats.norm.logpdf(scaled, mean, spread)
        return jnp.sum(jax.nn.logsumexp(each, -1) - jnp.log(unit), (1, 2))

    stamps = prior.mean + 0.3 * RNG.standard_normal((2, *prior.shape))
    np.testing.assert_allclose(prior.log_prob(stamps), log_density(jnp.asarray(stamps)), rtol=1e-10)
    expected = np.asarray(jax.grad(lambda x: log_density(x).sum())(jnp.asarray(stamps)))
    np.testing.assert_allclose(prior.score(stamps), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
