"""Numbers that a page holds come back within half a step."""

import base64
import struct
import zlib

import numpy as np
import pytest

from cmrplan.report.page.packing import packed, unpacked


def test_the_bytes_are_differences_in_steps_of_four_ten_millionths_with_their_bytes_apart():
    text = packed({"loss": np.array([4.0, 4.0000008, np.nan])})
    # By hand: 10,000,000, then 2 more, then down to the number that stands for a missing one.
    changes = [10_000_000, 2, (-(2**31) - 10_000_002) % 2**32]
    words = [struct.pack("<I", change) for change in changes]
    expected = b"".join(bytes(word[k] for word in words) for k in range(4))
    assert zlib.decompress(base64.b64decode(text["data"])) == expected
    assert text["arrays"] == [{"name": "loss", "shape": [3], "step": 4e-7}]


def test_numbers_come_back_within_half_a_step_and_missing_ones_as_such():
    rng = np.random.default_rng(0)
    losses = rng.normal(2, 3, size=(4, 3, 50))
    losses[1, 2, 7] = np.nan
    losses[0, 0, 0] = np.inf
    text = packed({"a": losses, "b": np.array([[5.0]]), "none": np.zeros((2, 0))})
    back = unpacked(text)
    known = np.isfinite(losses)
    assert np.abs(back["a"] - losses)[known].max() <= 2.000001e-7
    assert (np.isnan(back["a"]) == ~known).all()
    assert back["b"].tolist() == [[5.0]]
    assert back["none"].shape == (2, 0)


@pytest.mark.parametrize("largest", [3e4, 1e9])
def test_large_numbers_take_a_coarser_step(largest):
    values = np.array([largest, -largest, 1.0])
    text = packed({"a": values})
    (step,) = [one["step"] for one in text["arrays"]]
    assert step == largest / 2**30
    np.testing.assert_allclose(unpacked(text)["a"], values, atol=step / 2 * 1.000001)
