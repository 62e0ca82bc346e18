import copy

import numpy as np
import pytest

from celestepy.nn import build_network, pixelcnn, score_unet

SIGMA = np.array([0.05, 0.8])


def arrays_of(entries, rng, found=None):
    """Random numbers for every layer of a description, with the shapes that the description implies."""
    found = {} if found is None else found
    for entry in entries:
        kind, name = entry["layer"], entry.get("name")
        if kind == "conv2d":
            found[f"{name}.weight"] = 0.2 * rng.standard_normal((*entry["kernel"], entry["inputs"], entry["outputs"]))
            found[f"{name}.bias"] = 0.2 * rng.standard_normal(entry["outputs"])
        elif kind == "modulation":
            found[f"{name}.weight"] = 0.2 * rng.standard_normal((entry["inputs"], 2 * entry["channels"]))
            found[f"{name}.bias"] = 0.2 * rng.standard_normal(2 * entry["channels"])
        elif kind == "time_embedding":
            for part, length in (("first", entry["features"]), ("second", entry["outputs"])):
                found[f"{name}.{part}.weight"] = 0.2 * rng.standard_normal((length, entry["outputs"]))
                found[f"{name}.{part}.bias"] = 0.2 * rng.standard_normal(entry["outputs"])
        for part in [entry.get("body", []), *entry.get("branches", [])]:
            arrays_of(part, rng, found)
    return found


def random_arrays(description, seed=3):
    rng = np.random.default_rng(seed)
    return arrays_of([description["context"], *description["body"]], rng)


SMALL = {"unet": score_unet((4, 6), context=5, features=4), "pixelcnn": pixelcnn(4, context=5, features=4)}


@pytest.mark.parametrize("kind", SMALL)
def test_derivatives_of_whole_networks(kind):
    description, rng = SMALL[kind], np.random.default_rng(5)
    network = build_network(description, random_arrays(description), np.float64)
    x, tangent = rng.standard_normal((2, 2, 8, 8, 1))
    y, tape = network.forward(x, SIGMA)
    found, step = network.jvp(tape, tangent), 1e-5
    plus, minus = (network.forward(x + sign * step * tangent, SIGMA)[0] for sign in (1, -1))
    np.testing.assert_allclose(found, (plus - minus) / (2 * step), atol=1e-7)
    cotangent = rng.standard_normal(y.shape)
    np.testing.assert_allclose(np.sum(found * cotangent), np.sum(tangent * network.vjp(tape, cotangent)), rtol=1e-10)


def test_shapes_and_temperatures():
    network = build_network(SMALL["unet"], random_arrays(SMALL["unet"]), np.float64)
    x = np.random.default_rng(0).standard_normal((2, 8, 12, 1))
    both, _ = network.forward(x, SIGMA)
    assert both.shape == x.shape
    for one, sigma in enumerate(SIGMA):
        alone, _ = network.forward(x[one : one + 1], sigma)
        np.testing.assert_allclose(alone[0], both[one], rtol=1e-12, atol=1e-14)
    assert not np.allclose(network.forward(x, 0.05)[0][1], both[1], rtol=1e-3)


def test_float32_is_close_to_float64():
    arrays, x = random_arrays(SMALL["unet"]), np.random.default_rng(0).standard_normal((1, 8, 8, 1))
    single, _ = build_network(SMALL["unet"], arrays).forward(x, 0.3)
    double, _ = build_network(SMALL["unet"], arrays, np.float64).forward(x, 0.3)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=2e-5 * np.abs(double).max())  # a few hundred float32 roundings


def test_pixelcnn_sees_every_pixel_before_and_none_after():
    description = pixelcnn(6, rows=(1, 2, 2), columns=(1, 2), context=5, features=4)
    network = build_network(description, random_arrays(description), np.float64)
    x = np.random.default_rng(0).standard_normal((1, 7, 9, 1))
    y, tape = network.forward(x, 0.3)
    order = np.arange(63)
    for row, column in ((0, 0), (3, 4), (5, 0), (6, 8)):
        cotangent = np.zeros_like(y)
        cotangent[0, row, column] = 1.0
        seen = network.vjp(tape, cotangent).ravel() != 0.0
        np.testing.assert_array_equal(seen, order < 9 * row + column)


def test_clear_errors():
    description, arrays = SMALL["unet"], random_arrays(SMALL["unet"])
    with pytest.raises(ValueError, match=r"no array 'stem\.weight'"):
        build_network(description, {k: v for k, v in arrays.items() if k != "stem.weight"})
    with pytest.raises(ValueError, match=r"'stem\.bias' of the network has shape \(3,\).*asks for \(4,\)"):
        build_network(description, arrays | {"stem.bias": np.zeros(3)})
    with pytest.raises(ValueError, match="does not mention: other"):
        build_network(description, arrays | {"other": np.zeros(3)})
    for change, message in (
        ({"layer": "magic"}, "unknown layer 'magic'"),
        ({"layer": "conv2d", "name": "a", "mask": "none"}, "lacks the key"),
    ):
        broken = copy.deepcopy(description)
        broken["body"].append(change)
        with pytest.raises(ValueError, match=message):
            build_network(broken, arrays)
    broken = copy.deepcopy(description)
    broken["body"][1]["mask"] = "odd"
    with pytest.raises(ValueError, match="layer 'stem': unknown mask 'odd'; expected one of none, above"):
        build_network(broken, arrays)
