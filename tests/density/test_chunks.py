"""Sources of rows: every row once per pass, the same ones held out each time, and memory-mapped arrays in pieces."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density import chunks
from celestepy.density.chunks import as_source, joined, survey
from celestepy.density.noisy_rows import DensityError, NoisyRows


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 10 rows, so that a thousand rows are many."""
    monkeypatch.setattr(chunks, "_BLOCK_ROWS", 10)


def numbered(n=1005):
    """Rows whose first value is their number."""
    X = np.random.default_rng(13).normal(size=(n, 3))
    X[:, 0] = np.arange(n)
    return X, np.full((n, 3), 0.1)


def mapped(tmp_path, array, name):
    np.save(tmp_path / name, array)
    return np.load(tmp_path / name, mmap_mode="r")


KINDS = ["memory", "mapped", "pieces"]


def source_of(kind, tmp_path):
    """The same rows in each of the ways that rows can come, a hundred at a time."""
    X, S = numbered()
    if kind == "memory":
        return as_source(X, S)
    if kind == "mapped":
        source = as_source(mapped(tmp_path, X, "x.npy"), mapped(tmp_path, S, "s.npy"))
        return chunks.RowSource(source._read, 1005, chunk_rows=100)
    if kind == "stream":
        return as_source(lambda: ((X[k : k + 70], S[k : k + 70]) for k in range(0, 1005, 70)))
    return as_source(Pieces(X, S))


@pytest.fixture(params=[*KINDS, "stream"])
def source(request, tmp_path):
    return source_of(request.param, tmp_path)


class Pieces:
    """Something that can be read by row number."""

    n_rows, chunk_size = 1005, 100

    def __init__(self, X, S):
        self.X, self.S, self.read_rows = X, S, []

    def read(self, slices):
        self.read_rows.append(sum(part.stop - part.start for part in slices))
        return joined([NoisyRows.from_input(self.X[part], self.S[part]) for part in slices])


def numbers(parts):
    return np.concatenate([rows.values[:, 0] for rows in parts]).astype(int)


def test_in_order(source):
    np.testing.assert_array_equal(numbers(source.chunks()), np.arange(1005))
    np.testing.assert_array_equal(numbers(source.chunks()), np.arange(1005))


def test_minibatches_have_every_row_once(source):
    rng = np.random.default_rng(14)
    found = numbers(source.minibatches(30, rng))
    assert (found[:30] != np.arange(30)).any()
    np.testing.assert_array_equal(np.sort(found), np.arange(1005))
    again = numbers(source.minibatches(30, rng))
    assert (found != again).any()


@pytest.mark.parametrize("kind", KINDS)
def test_minibatches_mix_all_parts(kind, tmp_path):
    """Of all but streams, which are shuffled within a chunk."""
    first = numbers(source_of(kind, tmp_path).minibatches(100, np.random.default_rng(15)))[:100]
    # ten blocks, or a hundred rows, of a uniform distribution over 0..1004: standard error 92 for blocks
    assert abs(first.mean() - 502) < 370
    assert np.ptp(first) > 300


def test_the_same_rows_are_held_out_whatever_the_order(source):
    part = source.without(0.2, 99)
    ordered = numbers(part.chunks())
    shuffled = numbers(part.minibatches(30, np.random.default_rng(16)))
    np.testing.assert_array_equal(np.sort(shuffled), ordered)
    held_out = numbers(rows[np.flatnonzero(out)] for rows, out in part.chunks_with_held_out())
    np.testing.assert_array_equal(np.sort(np.concatenate([ordered, held_out])), np.arange(1005))
    # binomial, sd 13
    assert abs(len(held_out) - 201) < 55
    other = numbers(source.without(0.2, 100).chunks())
    assert len(np.intersect1d(ordered, other)) < 0.75 * 1005


def test_memory_is_that_of_a_chunk():
    """No piece is larger than a chunk, in order or shuffled."""
    pieces = Pieces(*numbered())
    source = as_source(pieces)
    list(source.chunks())
    list(source.minibatches(10, np.random.default_rng(17)))
    assert max(pieces.read_rows) <= 100
    assert sum(pieces.read_rows) == 2 * 1005


def test_memory_mapped_arrays_equal_arrays(tmp_path):
    sample = noisy_sample(seed=18, n=500, missing=0.2)
    expected = joined(list(as_source(*sample.rows).chunks()))
    found = joined(list(as_source(mapped(tmp_path, sample.X, "x.npy"), sample.covariance).chunks()))
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.observed, expected.observed)
    np.testing.assert_array_equal(found.noise, expected.noise)


@pytest.mark.parametrize("shape", [(3,), (3, 3)])
def test_noise_shared_by_all_rows_goes_with_mapped_rows(tmp_path, shape):
    X, _ = numbered(300)
    shared = 0.3 * (np.ones(3) if len(shape) == 1 else np.eye(3))
    source = as_source(mapped(tmp_path, X, "x.npy"), shared)
    assert sum(len(rows) for rows in source.chunks()) == 300


@pytest.mark.parametrize("shared", [False, True])
def test_a_last_chunk_with_as_many_rows_as_columns(tmp_path, shared):
    """What the noise is, the whole array says; a chunk of three rows in three columns alone would not."""
    X, S = numbered(203)
    noise = np.diag([0.1, 0.2, 0.3]) + 0.05 if shared else S * np.arange(1, 204)[:, None]
    read = as_source(mapped(tmp_path, X, "x.npy"), noise)._read
    rows = list(chunks.RowSource(read, 203, chunk_rows=100).chunks())[-1]
    assert len(rows) == 3
    np.testing.assert_array_equal(rows.noise, np.tile(noise, (3, 1, 1)) if shared else noise[200:])


def test_lists_go_with_mapped_arrays(tmp_path):
    X, S = numbered(50)
    mixed = as_source(X.tolist(), mapped(tmp_path, S, "s.npy")), as_source(mapped(tmp_path, X, "x.npy"), S.tolist())
    for source in mixed:
        rows = joined(list(source.chunks()))
        np.testing.assert_array_equal(rows.values, X)
        np.testing.assert_array_equal(rows.noise, S)


class TestSurvey:
    def test_counts(self):
        X, S = numbered(300)
        X[:10] = np.nan
        weights = np.linspace(0, 2, 300)
        seen = survey(as_source(X, S, weights=weights), np.random.default_rng(19), sample_rows=50, held_out_rows=10)
        assert seen.n_rows == 300
        assert seen.weight == pytest.approx(weights[10:].sum())
        assert seen.effective_rows == pytest.approx(weights[10:].sum() ** 2 / (weights[10:] ** 2).sum())
        assert len(seen.sample) == 50
        assert seen.held_out is None
        assert seen.sample.observed is None or seen.sample.observed.any(axis=1).all()

    def test_the_sample_is_uniform(self, source):
        """Means of the numbers of 300 of 1005 rows, ten times: 502 with a standard error of 4.4."""
        rng = np.random.default_rng(20)
        samples = [survey(source, rng, sample_rows=300, held_out_rows=0).sample for _ in range(10)]
        assert all(len(np.unique(sample.values[:, 0])) == 300 for sample in samples)
        assert abs(np.mean([sample.values[:, 0].mean() for sample in samples]) - 502) < 18

    def test_nothing_to_fit(self):
        with pytest.raises(DensityError, match="no row with an observed value"):
            survey(as_source(np.full((5, 2), np.nan)), np.random.default_rng(0), sample_rows=5, held_out_rows=0)


def test_a_last_chunk_of_a_stream_with_as_many_rows_as_columns():
    X, S = numbered(203)
    rows = list(as_source(lambda: ((X[k : k + 100], S[k : k + 100]) for k in range(0, 203, 100))).chunks())
    np.testing.assert_array_equal(rows[-1].noise, S[200:])


class TestRefusals:
    def test_an_iterator_can_be_read_once_only(self):
        with pytest.raises(DensityError, match="function that returns a new one"):
            as_source(iter([np.zeros((3, 2))]))

    def test_a_bad_chunk_is_named(self):
        source = as_source(lambda: iter([np.zeros((3, 2)), np.full((3, 2), np.inf)]))
        with pytest.raises(DensityError, match="chunk 1"):
            list(source.chunks())

    @pytest.mark.parametrize(
        ("stream", "message"),
        [
            (lambda: None, "returned NoneType; expected an iterator"),
            (lambda: iter([(np.zeros((3, 2)),) + (None,) * 4]), "chunk 0 is a tuple of 5"),
            (lambda: iter([[np.zeros((3, 2)), np.ones((3, 2))]]), "go in a tuple"),
        ],
    )
    def test_what_is_no_stream_of_chunks(self, stream, message):
        with pytest.raises(DensityError, match=message):
            list(as_source(stream).chunks())

    def test_a_stream_that_is_at_its_end(self):
        once = iter([np.zeros((3, 2))])
        source = as_source(lambda: once)
        assert len(list(source.chunks())) == 1
        with pytest.raises(DensityError, match="gave 3 rows at first, and 0 in a later pass"):
            list(source.chunks())

    def test_noise_belongs_to_the_chunks(self):
        with pytest.raises(DensityError, match="covariance cannot be given beside"):
            as_source(lambda: iter([]), np.eye(2))

    def test_bad_values_of_mapped_rows_say_where(self, tmp_path):
        X, S = numbered(300)
        X[250, 1] = np.inf
        with pytest.raises(DensityError, match="in the rows from 200: .*row 50"):
            list(chunks.RowSource(as_source(mapped(tmp_path, X, "x.npy"), S)._read, 300, chunk_rows=100).chunks())

    def test_mapped_arrays_of_other_lengths(self, tmp_path):
        X, S = numbered(300)
        with pytest.raises(DensityError, match="covariance has shape"):
            as_source(mapped(tmp_path, X, "x.npy"), S[:200])

    def test_chunks_must_be_alike(self):
        source = as_source(lambda: iter([np.zeros((3, 2)), np.zeros((3, 4))]))
        with pytest.raises(DensityError, match="4 columns"):
            survey(source, np.random.default_rng(0), sample_rows=5, held_out_rows=0)

    def test_chunks_must_all_have_noise(self):
        with pytest.raises(DensityError, match="noise"):
            joined([NoisyRows.from_input(np.zeros((3, 2))), NoisyRows.from_input(np.zeros((3, 2)), np.eye(2))])
