import json

import numpy as np
import pytest

from celestepy.nn import WeightFileError, load_network_file, save_network_file

DESCRIPTION = {
    "context": None,
    "body": [{"layer": "dense", "name": "only", "inputs": 3, "outputs": 2}],
}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(1)
    return {"only.weight": rng.standard_normal((3, 2)), "only.bias": rng.standard_normal(2)}


@pytest.fixture
def path(tmp_path, arrays):
    path = tmp_path / "net.npz"
    save_network_file(path, DESCRIPTION, arrays, {"recipe": "test"}, {"mean": np.eye(2)})
    return path


def entries_of(path):
    with np.load(path) as archive:
        return dict(archive)


def test_there_and_back(path, arrays):
    file = load_network_file(path)
    assert file.description == DESCRIPTION
    assert file.metadata == {"recipe": "test"}
    assert file.arrays["only.weight"].dtype == np.float16
    np.testing.assert_array_equal(file.constants["mean"], np.eye(2))
    network = file.build(np.float64)
    x = np.ones((1, 1, 1, 3))
    expected = arrays["only.weight"].sum(0) + arrays["only.bias"]
    # half precision: 2^-11 of each of four numbers of about one
    np.testing.assert_allclose(network.forward(x)[0].ravel(), expected, atol=4e-3)


def test_checksum_does_not_depend_on_the_writing(tmp_path, path, arrays):
    again = save_network_file(tmp_path / "b.npz", DESCRIPTION, arrays, {"recipe": "test"}, {"mean": np.eye(2)})
    assert again == json.loads(str(entries_of(path)["about"]))["sha256"]
    other = save_network_file(tmp_path / "c.npz", DESCRIPTION, arrays, {"recipe": "other"}, {"mean": np.eye(2)})
    assert other != again


@pytest.mark.parametrize("name", ["array.only.weight", "constant.mean"])
def test_changed_numbers_are_refused(path, name):
    entries = entries_of(path)
    entries[name] = entries[name] * 1.01
    np.savez(path, **entries)
    with pytest.raises(WeightFileError, match="checksum does not match"):
        load_network_file(path)


def test_changed_description_is_refused(path):
    entries = entries_of(path)
    about = json.loads(str(entries["about"]))
    about["metadata"]["recipe"] = "better"
    np.savez(path, **entries | {"about": np.array(json.dumps(about))})
    with pytest.raises(WeightFileError, match="checksum does not match"):
        load_network_file(path)


def test_other_formats_are_refused(path):
    entries = entries_of(path)
    about = json.loads(str(entries["about"])) | {"format": "celestepy network 9"}
    np.savez(path, **entries | {"about": np.array(json.dumps(about))})
    with pytest.raises(WeightFileError, match="has the format 'celestepy network 9'; this version reads"):
        load_network_file(path)


def test_what_is_no_weight_file(tmp_path, path):
    with pytest.raises(WeightFileError, match="no weight file .*missing.npz"):
        load_network_file(tmp_path / "missing.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(path.read_bytes()[:-200])
    text = tmp_path / "text.npz"
    text.write_text("hello")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, about=np.array([{}], object))
    lone = tmp_path / "lone.npy"
    np.save(lone, np.zeros(3))
    empty = tmp_path / "empty.npz"
    empty.write_bytes(b"")
    for bad in (cut, text, pickled, lone, empty):
        with pytest.raises(WeightFileError, match=f"{bad.name} is no weight file, or is damaged"):
            load_network_file(bad)
    other = tmp_path / "other.npz"
    np.savez(other, something=np.zeros(3))
    with pytest.raises(WeightFileError, match="does not describe a network"):
        load_network_file(other)


def test_what_half_precision_cannot_hold(tmp_path, arrays):
    for bad in (1e5, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"'only\.bias' has values that half precision cannot hold"):
            save_network_file(tmp_path / "a.npz", DESCRIPTION, arrays | {"only.bias": np.full(2, bad)}, {})
    with pytest.raises(ValueError, match=r"no array 'only\.bias'"):
        save_network_file(tmp_path / "a.npz", DESCRIPTION, {"only.weight": arrays["only.weight"]}, {})
