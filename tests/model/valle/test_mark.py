"""The mark in the codes: a key colours half of them on any machine, sampling leans to these, and detection sees it."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from model.codec.encodec import load_codec
from model.valle.mark import LEAST_FRAMES, Trace, coins, groups, leads, mark, trace
from model.valle.sampling import Sampling, sample
from model.valle.settings import CODEBOOK_SIZE

EOS = CODEBOOK_SIZE


@pytest.fixture(scope="module")
def entries() -> torch.Tensor:
    return load_codec("embedded").codebooks


def green(entries: torch.Tensor) -> torch.Tensor:
    return mark(entries[0], 1.0).green


def test_a_key_means_the_same_colours_on_any_machine(entries):
    digest = sha256(np.packbits(green(entries).numpy()).tobytes()).hexdigest()
    assert digest.startswith("633628b3cf83757e"), "speech that is marked already would be found no more"


def test_half_of_the_codes_are_green_and_the_nearest_groups_differ(entries):
    colours, twos = green(entries), groups(entries[0])
    assert int(colours.sum()) == CODEBOOK_SIZE // 2
    assert sorted(twos.flatten()) == list(range(CODEBOOK_SIZE))
    assert (colours[twos[0::2]] != colours[twos[1::2]]).all()
    assert not np.array_equal(colours, mark(entries[0], 1.0, key="another").green)
    flipped = -entries[0]
    assert np.array_equal(groups(flipped), twos), "the sign of an axis is no matter"


def test_a_mark_leaves_the_end_as_likely_as_it_was(entries):
    scores = torch.randn(3, EOS + 1, generator=torch.Generator().manual_seed(0))
    marked = mark(entries[0], 3.0).favour(scores)
    ends, before = marked.softmax(-1)[:, EOS], scores.softmax(-1)[:, EOS]
    assert torch.allclose(ends, before)
    share = marked.softmax(-1)[:, :EOS][:, green(entries)].sum(-1)
    assert (share > 0.9 * (1 - ends)).all()
    barred = torch.full((1, EOS + 1), float("-inf"))
    barred[0, EOS] = 0.0
    assert mark(entries[0], 3.0).favour(barred).softmax(-1)[0, EOS] == 1


def test_a_mark_of_no_strength_changes_no_code(entries):
    chance = torch.Generator().manual_seed(1)
    logits, uniforms = torch.randn(64, EOS + 1, generator=chance), torch.rand(64, 2, generator=chance)
    recent = torch.zeros(64, 0, dtype=torch.long)
    plain, none = Sampling(window=0), Sampling(window=0, mark=mark(entries[0], 0.0))
    assert torch.equal(sample(logits, recent, uniforms, plain), sample(logits, recent, uniforms, none))


def codes(entries: torch.Tensor, strength: float, num_frames: int = 400) -> np.ndarray:
    chance = torch.Generator().manual_seed(2)
    logits, uniforms = torch.randn(num_frames, EOS + 1, generator=chance), torch.rand(num_frames, 2, generator=chance)
    how = Sampling(window=0, mark=mark(entries[0], strength))
    said = sample(logits, torch.zeros(num_frames, 0, dtype=torch.long), uniforms, how).clamp(max=EOS - 1)
    return said.numpy().astype(np.uint16)[None]


@pytest.mark.parametrize(("strength", "found"), [(0.0, False), (2.0, True)])
def test_marked_codes_are_found_and_others_are_not(entries, strength, found):
    heard = leads(codes(entries, strength), entries[:1])
    assert trace(heard, 400).found is found
    assert trace(heard, 400, key="another").found is False


def test_the_chance_of_a_false_alarm_is_as_told(entries):
    heard = leads(codes(entries, 0.0), entries[:1])
    chances = np.array([trace(heard, 400, key=f"key {number}").chance for number in range(2_000)])
    for level in (0.5, 0.1, 0.01):
        assert abs((chances < level).mean() - level) < 4 * np.sqrt(level / 2_000)


def test_what_is_too_short_has_no_verdict():
    assert Trace(LEAST_FRAMES - 1, 9.0).found is None
    assert Trace(LEAST_FRAMES, 9.0).found is True
    assert trace(np.zeros(256), 400).chance == 0.5
    assert set(coins("a key")) == {-1, 1}
