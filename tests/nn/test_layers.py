from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import nn as slow

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
)
from celestepy.nn.convolution import CHUNK

RNG = np.random.default_rng(20261121)
SHAPE = (2, 6, 8, 4)


def numbers(*shape):
    return RNG.standard_normal(shape)


def convolution(kernel=(3, 3), inputs=4, outputs=3, **options):
    return Conv2d(numbers(*kernel, inputs, outputs), numbers(outputs), **options)


LAYERS = {
    "silu": SiLU(),
    "elu": ELU(),
    "concat_elu": ConcatELU(),
    "gate": Gate(),
    "dense": Dense(numbers(4, 5), numbers(5)),
    "modulation": Modulation(numbers(3, 8), numbers(8)),
    "group_norm": GroupNorm(numbers(4), numbers(4), groups=2),
    "layer_norm": GroupNorm(numbers(4), numbers(4), groups=1),
    "unshuffle": PixelUnshuffle(2),
    "shuffle": PixelShuffle(2),
    "upsample": Upsample(2),
    "conv": convolution(),
    "conv_1x1": convolution((1, 1)),
    "conv_5x3": convolution((5, 3)),
    "conv_stride": convolution(stride=2),
    "conv_stride_1x1": convolution((1, 1), stride=2),
    "conv_dilation": convolution(dilation=2),
    "conv_above": convolution(mask="above"),
    "conv_rows": convolution(mask="rows", dilation=2),
    "conv_left": convolution((1, 5), mask="left"),
    "conv_row": convolution((1, 3), mask="row", dilation=3),
    "conv_before": convolution(mask="before"),
    "conv_here": convolution((5, 5), mask="here"),
    "transposed": TransposedConv2d(numbers(3, 3, 3, 4), numbers(3)),
    "transposed_5": TransposedConv2d(numbers(5, 5, 2, 4), numbers(2), stride=3),
    "residual": Residual(Sequential([convolution(outputs=4), SiLU()])),
    "sum": Sum([Sequential([convolution()]), Sequential([SiLU(), convolution()])]),
}
CONTEXT = numbers(2, 3)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives(name):
    layer = LAYERS[name]
    # away from zero, where the ELU's second derivative jumps and central differences lose a digit
    x = np.where(RNG.random(SHAPE) < 0.5, -1.0, 1.0) * RNG.uniform(0.1, 2.0, SHAPE)
    y, tape = layer.forward(x, CONTEXT)
    tangent, cotangent = numbers(*SHAPE), numbers(*y.shape)
    step = 1e-5
    found = layer.jvp(tape, tangent)
    differences = (layer.forward(x + step * tangent, CONTEXT)[0] - layer.forward(x - step * tangent, CONTEXT)[0]) / (
        2 * step
    )
    # truncation of central differences: step^2 times third derivatives of a few
    np.testing.assert_allclose(found, differences, atol=1e-7)
    # the transpose, exactly: <g, J v> = <J' g, v>
    back = layer.vjp(tape, cotangent)
    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(cotangent * found), np.sum(back * tangent), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS)
def test_leaves_its_input_alone(name):
    x = numbers(*SHAPE)
    x.flags.writeable = False
    y, tape = LAYERS[name].forward(x, CONTEXT)
    kept = y.copy()
    for cotangent in (np.ones_like(y), np.zeros_like(y)):
        cotangent.flags.writeable = False
        LAYERS[name].vjp(tape, cotangent)
    LAYERS[name].jvp(tape, x)
    np.testing.assert_array_equal(y, kept)


@pytest.mark.parametrize("name", ["silu", "elu", "concat_elu", "gate", "unshuffle", "shuffle", "upsample"])
def test_keeps_float32(name):
    x = numbers(*SHAPE).astype(np.float32)
    y, tape = LAYERS[name].forward(x)
    assert y.dtype == LAYERS[name].vjp(tape, np.ones_like(y)).dtype == LAYERS[name].jvp(tape, x).dtype == np.float32


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (5, 3)])
@pytest.mark.parametrize("shape", [(2, 6, 8), (1, 7, 5)])
def test_convolution(stride, kernel, shape):
    weight, bias, x = numbers(*kernel, 4, 3), numbers(3), numbers(*shape, 4)
    layer = Conv2d(weight, bias, stride=stride)
    y, tape = layer.forward(x)
    np.testing.assert_allclose(y, slow.convolution(x, weight, bias, stride), rtol=1e-12, atol=1e-12)
    v, g = numbers(*x.shape), numbers(*y.shape)
    np.testing.assert_allclose(np.sum(layer.vjp(tape, g) * v), np.sum(g * layer.jvp(tape, v)), rtol=1e-11)


MASKED = {
    "above": [[1, 1, 1], [0, 0, 0], [0, 0, 0]],
    "rows": [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
    "left": [[0, 0, 0], [1, 0, 0], [0, 0, 0]],
    "row": [[0, 0, 0], [1, 1, 0], [0, 0, 0]],
    "before": [[1, 1, 1], [1, 0, 0], [0, 0, 0]],
    "here": [[1, 1, 1], [1, 1, 0], [0, 0, 0]],
}


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("mask", MASKED)
def test_masked_convolution(mask, dilation):
    weight, bias, x = numbers(3, 3, 4, 3), numbers(3), numbers(*SHAPE)
    expected = slow.convolution(x, weight, bias, dilation=dilation, live=MASKED[mask])
    found, _ = Conv2d(weight, bias, dilation=dilation, mask=mask).forward(x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dilation", [4, 9])
def test_dilation_beyond_the_image(dilation):
    weight, bias, x = numbers(3, 3, 2, 3), numbers(3), numbers(1, 4, 4, 2)
    for mask in ("rows", "none", "above"):
        live = MASKED.get(mask)
        layer = Conv2d(weight, bias, dilation=dilation, mask=mask)
        y, tape = layer.forward(x)
        np.testing.assert_allclose(y, slow.convolution(x, weight, bias, dilation=dilation, live=live), atol=1e-12)
        v, g = numbers(*x.shape), numbers(*y.shape)
        np.testing.assert_allclose(np.sum(layer.vjp(tape, g) * v), np.sum(g * layer.jvp(tape, v)), atol=1e-11)


@pytest.mark.parametrize(("side", "stride"), [(3, 2), (5, 2), (3, 3), (3, 1)])
def test_transposed_convolution(side, stride):
    weight, bias, x = numbers(side, side, 3, 4), numbers(3), numbers(2, 4, 5, 4)
    found, _ = TransposedConv2d(weight, bias, stride).forward(x)
    np.testing.assert_allclose(found, slow.transposed_convolution(x, weight, bias, stride), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(groups):
    weight, bias, x = numbers(4), numbers(4), numbers(*SHAPE)
    found, _ = GroupNorm(weight, bias, groups).forward(x)
    np.testing.assert_allclose(found, slow.group_norm(x, weight, bias, groups), rtol=1e-12, atol=1e-12)


def test_shuffles():
    x = numbers(2, 6, 4, 3)
    blocks, _ = PixelUnshuffle(2).forward(x)
    np.testing.assert_array_equal(blocks, slow.unshuffle(x, 2))
    np.testing.assert_array_equal(PixelShuffle(2).forward(blocks)[0], x)


def test_activations_at_extremes():
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], np.float32).reshape(1, 1, 1, 5)
    assert SiLU().forward(x)[0].ravel().tolist() == [0.0, 0.0, 0.0, 100.0, 1e4]
    assert ELU().forward(x)[0].ravel().tolist() == [-1.0, -1.0, 0.0, 100.0, 1e4]
    for layer in (SiLU(), ELU(), ConcatELU()):
        y, tape = layer.forward(x)
        assert np.isfinite(layer.vjp(tape, np.ones_like(y))).all()


def test_masks_beyond_their_own_image():
    """A kernel of one row finds nothing above: every tap of it is dead, which no network can mean."""
    with pytest.raises(ValueError, match="mask 'above'"):
        Conv2d(numbers(1, 3, 2, 2), numbers(2), mask="above")


def test_threads_do_not_share_memory():
    """The scratch memory of convolutions belongs to a thread."""
    layer, batches = convolution((5, 5)), numbers(8, 3, 40, 40, 4)
    expected = [layer.forward(batch)[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: layer.forward(batch)[0], batches))
    np.testing.assert_array_equal(found, expected)


def test_batches_that_are_convolved_in_pieces():
    layer, images = convolution(), numbers(40, 32, 32, 4)
    whole, _ = layer.forward(images)
    assert images[0].size * 9 * 8 * 40 > 2 * CHUNK
    np.testing.assert_allclose(whole[33], layer.forward(images[33:34])[0][0], rtol=1e-12, atol=1e-12)
