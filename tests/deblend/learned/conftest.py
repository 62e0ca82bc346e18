"""Small networks that nobody trained, in files like those of the trained ones."""

import numpy as np
import pytest

from celestepy.nn import NetworkFile, pixelcnn, score_unet

SIZE = 8


def numbers_of(entries, rng, spread, found):
    """Random numbers for every layer of a description, with the shapes that it implies."""
    for entry in entries:
        kind, name = entry["layer"], entry.get("name")
        shapes = {}
        if kind == "conv2d":
            shapes = {"": (*entry["kernel"], entry["inputs"], entry["outputs"])}
        elif kind == "modulation":
            shapes = {"": (entry["inputs"], 2 * entry["channels"])}
        elif kind == "time_embedding":
            shapes = {".first": (entry["features"], entry["outputs"]), ".second": (entry["outputs"],) * 2}
        for part, shape in shapes.items():
            found[f"{name}{part}.weight"] = spread * rng.standard_normal(shape)
            found[f"{name}{part}.bias"] = spread * rng.standard_normal(shape[-1])
        for part in [entry.get("body", []), *entry.get("branches", [])]:
            numbers_of(part, rng, spread, found)
    return found


@pytest.fixture
def untrained():
    """Function that makes the file of a prior: ``untrained(kind, spread)``, all numbers zero if the spread is."""

    def make(kind, spread=0.0, **changes):
        rng = np.random.default_rng(7)
        description = {
            "score": score_unet((4, 6), context=5, features=4),
            "pixelcnn": pixelcnn(5, components=2, rows=(1, 2), columns=(1, 2), context=5, features=4),
        }[kind]
        arrays = numbers_of([description["context"], *description["body"]], rng, spread, {})
        metadata = {
            "kind": kind, "pixel_scale": 0.2, "softening": 0.02, "model_psf_sigma": 0.8, "scale": 0.5,
            "sigma_range": [0.01, 20.0],
        } | changes  # fmt: skip
        return NetworkFile(description, arrays, metadata, {"mean": rng.uniform(0.5, 1.5, (SIZE, SIZE))})

    return make
