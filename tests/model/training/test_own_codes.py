"""What an AR hears of itself in training: its own guesses behind a true beginning, the same for the same draw."""

import numpy as np
import torch

from model.training.own_codes import own_codes
from model.training.validation import ask
from model.valle.batch import Example, collate
from model.valle.checkpoint import build
from model.valle.settings import Settings, Size

SIZE = Size(num_layers=1, num_heads=2, width=16, ffn_width=32, dropout=0.1)


def half():
    torch.manual_seed(0)
    return build(Settings("ar", SIZE, tuple("abcdefgh"), "", group=2, chained=True))


def batch():
    draw = np.random.default_rng(0)
    lengths = (40, 60)
    return collate(
        [
            Example(draw.integers(0, 8, 5).astype(np.uint16), draw.integers(0, 1024, (1, n)).astype(np.uint16))
            for n in lengths
        ]
    )


def heard(share, seed=1):
    return own_codes(half().train(), batch(), None, None, share, torch.Generator().manual_seed(seed))


def test_a_share_of_the_codes_is_its_own_and_the_beginning_stays_true():
    truth = batch().codes[:, 0]
    other = heard(1.0) != truth
    for row, length in zip(other, batch().code_lengths.tolist(), strict=True):
        assert row[length // 2 : length].float().mean() > 0.9  # a guess of an untrained half is seldom right
        assert not row[:1].any()
    assert 0.2 < (heard(0.5) != truth)[1, 30:].float().mean() < 0.8
    assert torch.equal(heard(0.0), truth)


def test_the_same_draw_gives_the_same_codes_and_leaves_dropout_on():
    model = half().train()
    first, again = (own_codes(model, batch(), None, None, 0.5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, heard(0.5, seed=4))
    assert model.training


def test_what_it_should_say_is_the_truth_whatever_it_hears():
    model = half().eval()
    plain, misheard = (ask(model, batch(), torch.Generator().manual_seed(0), own=share) for share in (0.0, 1.0))
    assert torch.equal(plain.targets, misheard.targets)
    assert torch.equal(plain.logits[:, 0], misheard.logits[:, 0])
    assert not torch.equal(plain.logits, misheard.logits)
