"""What each half may see, must not see, and how large it is."""

import pytest
import torch

from model.valle import ar
from model.valle.ar import AR, IGNORED
from model.valle.checkpoint import num_parameters
from model.valle.nar import NAR
from model.valle.settings import SIZES, Settings
from model.valle.transformer import sinusoids
from tests.model.small import SYMBOLS, changes, half, speech, task


@pytest.mark.parametrize("frame", [0, 4, 8])
def test_a_frame_moves_every_ar_logit_after_it_and_none_before(frame):
    model, (phones, phone_lengths, codes, code_lengths) = half("ar"), speech()
    before = model(phones, phone_lengths, codes[:, 0], code_lengths)
    codes[0, 0, frame] = (codes[0, 0, frame] + 1) % 1024
    after = model(phones, phone_lengths, codes[:, 0], code_lengths)
    assert changes(before, after).tolist() == [place > frame for place in range(10)]


@pytest.mark.parametrize("phone", [0, 5])
def test_a_phone_moves_every_logit_of_the_ar(phone):
    model, (phones, phone_lengths, codes, code_lengths) = half("ar"), speech()
    before = model(phones, phone_lengths, codes[:, 0], code_lengths)
    phones[0, phone] = (phones[0, phone] + 1) % len(SYMBOLS)
    assert changes(before, model(phones, phone_lengths, codes[:, 0], code_lengths)).all()


def test_the_first_phone_sees_the_last():
    model, (phones, phone_lengths, codes, code_lengths) = half("ar"), speech()
    _, mask, _ = model._prefix(phones, phone_lengths, codes[:, 0], code_lengths, None)
    assert mask[0, 0, 0, :7].all()
    assert not mask[0, 0, :7, 7:].any()


@pytest.mark.parametrize("frame", [0, 3, 8])
def test_a_frame_moves_every_nar_logit(frame):
    model, (phones, phone_lengths, codes, code_lengths) = half("nar"), speech()
    before = model(phones, phone_lengths, codes, code_lengths, task(4))
    codes[0, 1, frame] = (codes[0, 1, frame] + 1) % 1024
    assert changes(before, model(phones, phone_lengths, codes, code_lengths, task(4))).all()


@pytest.mark.parametrize("stage", [2, 5, 8])
def test_the_nar_reads_codebooks_below_its_stage_and_all_of_the_prompt(stage):
    model, (phones, phone_lengths, codes, code_lengths) = half("nar"), speech()
    asked = task(stage, start=2, length=3)
    before = model(phones, phone_lengths, codes, code_lengths, asked)
    for q in range(8):
        for frame, is_read in [(0, q < stage - 1), (3, True)]:
            other = codes.clone()
            other[0, q, frame] = (other[0, q, frame] + 1) % 1024
            moved = changes(before, model(phones, phone_lengths, other, code_lengths, asked))
            assert moved.all() if is_read else not moved.any()


def test_the_stage_moves_every_logit_through_the_norms_alone():
    model, (phones, phone_lengths, codes, code_lengths) = half("nar"), speech()
    model.code_embeddings.data[4] = 0  # so that stages 5 and 6 read the same
    hidden = {}
    model.transformer.register_forward_hook(lambda *args: hidden.setdefault(len(hidden), args[2]))
    for stage in (5, 6):
        model(phones, phone_lengths, codes, code_lengths, task(stage))
    assert changes(hidden[0], hidden[1]).all()


def test_the_ar_is_asked_for_the_codes_then_eos_and_never_for_padding():
    codes = torch.tensor([[5, 6, 7], [8, 0, 0]])
    assert ar.targets(codes, torch.tensor([3, 1])).tolist() == [[5, 6, 7, 1024], [8, 1024, IGNORED, IGNORED]]


def test_positions_are_the_sinusoids_of_the_transformer():
    positions = sinusoids(torch.tensor([0, 3]), 4)
    expected = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.14112, 0.0299955, -0.9899925, 0.99955]])
    torch.testing.assert_close(positions, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "small", "paper"])
def test_the_number_of_parameters_follows_from_the_sizes(name):
    size = SIZES[name]
    width, ffn = size.width, size.ffn_width
    weights = 4 * (width**2 + width) + 2 * width * ffn + ffn + width
    norms = 2 * size.num_layers + 1
    with torch.device("meta"):
        first = AR(Settings("ar", size, SYMBOLS, ""))
        second = NAR(Settings("nar", size, SYMBOLS, ""))
    core = size.num_layers * weights
    assert num_parameters(first) == core + norms * 2 * width + (len(SYMBOLS) + 1 + 1025) * width
    adaptive = norms * (width * 2 * width + 2 * width)
    assert num_parameters(second) == core + adaptive + (len(SYMBOLS) + 7 + 8 * 1024) * width


def test_the_paper_s_ar_has_152_7_million_parameters_with_512_texts():
    with torch.device("meta"):
        model = AR(Settings("ar", SIZES["paper"], tuple(map(str, range(511))), ""))
    assert round(num_parameters(model) / 1e6, 1) == 152.7
