"""Validation: every codebook by itself, the same at every call, and rows that do not mix."""

import math

import numpy as np
import pytest
import torch

from model.training.parallel import Workers
from model.training.validation import loss, losses, top10, validate
from model.valle.batch import Example
from model.valle.checkpoint import build
from model.valle.settings import Settings, Size

SYMBOLS = tuple("abcdefgh")
SIZE = Size(num_layers=1, num_heads=2, width=16, ffn_width=32, dropout=0.1)
ALONE = Workers(0, 1)


def half(name):
    torch.manual_seed(0)
    return build(Settings(name, SIZE, SYMBOLS, ""))


def examples(count, num_codebooks=8):
    draw = np.random.default_rng(0)
    return [
        Example(
            draw.integers(0, 8, draw.integers(3, 9)).astype(np.uint16),
            draw.integers(0, 1024, (num_codebooks, draw.integers(6, 20))).astype(np.uint16),
        )
        for _ in range(count)
    ]


def test_the_ar_answers_for_the_first_codebook_and_the_nar_for_the_others():
    first = validate(half("ar"), examples(5, num_codebooks=1), 60, ALONE)
    others = validate(half("nar"), examples(9), 60, ALONE)
    assert [value is None for value in first.loss_by_codebook] == [False] + [True] * 7
    assert [value is None for value in others.loss_by_codebook] == [True] + [False] * 7
    assert first.loss == first.loss_by_codebook[0]
    assert min(others.loss_by_codebook[1:]) < others.loss < max(others.loss_by_codebook[1:])
    assert others.perplexity == math.exp(others.loss)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_every_stage_is_asked_however_few_the_examples(count):
    found = validate(half("nar"), examples(count), 60, ALONE)
    assert None not in found.loss_by_codebook[1:]
    assert all(0 <= hits <= 1 for hits in found.top10_by_codebook[1:])


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_it_asks_the_same_at_every_call_and_leaves_the_model_training(name):
    model = half(name)
    assert validate(model, examples(6), 40, ALONE) == validate(model, examples(6), 40, ALONE)
    assert model.training


def test_an_example_s_loss_in_a_batch_is_its_loss_alone():
    model, valid = half("ar"), examples(5)
    alone = [validate(model, [example], 1, ALONE) for example in valid]
    together = validate(model, valid, 10_000, ALONE)
    sizes = [example.codes.shape[1] + 1 for example in valid]
    assert together.loss == pytest.approx(np.average([one.loss for one in alone], weights=sizes), rel=1e-5)
    assert together.top10 == pytest.approx(np.average([one.top10 for one in alone], weights=sizes), rel=1e-5)


def test_shuffled_phones_are_other_phones_of_the_same_number():
    model, valid = half("ar"), examples(5)
    same = [Example(np.full_like(example.phones, 3), example.codes) for example in valid]
    found, unshuffled = (validate(model, rows, 60, ALONE) for rows in (valid, same))
    assert found.loss_shuffled != found.loss
    assert unshuffled.loss_shuffled == pytest.approx(unshuffled.loss, rel=1e-6)


def test_losses_and_hits_by_row_add_up_and_ignore_what_is_not_asked():
    logits = torch.randn(2, 5, 30, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, -100, -100, -100], [3, 4, 5, 6, 7]])
    assert losses(logits, targets).sum().item() == pytest.approx(loss(logits, targets).item(), rel=1e-6)
    sure = torch.nn.functional.one_hot(targets.clamp(min=0), 30).float()
    assert top10(sure, targets).tolist() == [2, 5]
    assert top10(-sure, targets).tolist() == [0, 0]
