"""What each half may see, must not see, and how large it is."""

import pytest
import torch

from model import ar, nar
from model.ar import AR, IGNORED
from model.checkpoint import num_parameters
from model.nar import NAR, Task
from model.settings import SIZES, Settings, Size
from model.transformer import sinusoids

SYMBOLS = tuple("abcdefgh")
SIZE = Size(num_layers=2, num_heads=2, width=32, ffn_width=64, dropout=0.0)


def half(name, seed=0, **options):
    """A small half in double precision, with norms that are not trivial."""
    torch.manual_seed(seed)
    model = (AR if name == "ar" else NAR)(Settings(name, SIZE, SYMBOLS, "a codec", **options)).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def speech(num_rows=2, num_phones=6, num_frames=9, seed=1):
    """Phones `[B, P]`, their lengths, codes `[B, 8, T]`, their lengths; the first row is whole, the others shorter."""
    generator = torch.Generator().manual_seed(seed)
    phones = torch.randint(len(SYMBOLS), (num_rows, num_phones), generator=generator)
    codes = torch.randint(1024, (num_rows, 8, num_frames), generator=generator)
    shorter = torch.arange(num_rows)
    return phones, num_phones - shorter, codes, num_frames - 2 * shorter


def changes(before, after):
    """Which frames of row 0 have other logits."""
    return (before[0] - after[0]).abs().amax(dim=-1) > 1e-9


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


def task(stage, num_rows=2, start=2, length=3):
    """The same task for every row."""
    return Task(*(torch.full((num_rows,), value) for value in (stage, start, length)))


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


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_a_row_does_not_see_its_neighbours_or_its_padding(name):
    model, (phones, phone_lengths, codes, code_lengths) = half(name), speech(3)
    read = codes[:, 0] if name == "ar" else codes
    together = model(phones, phone_lengths, read, code_lengths, *([] if name == "ar" else [task(3, 3)]))
    for row, (num_phones, num_frames) in enumerate(zip(phone_lengths.tolist(), code_lengths.tolist(), strict=True)):
        alone = model(
            phones[row : row + 1, :num_phones],
            phone_lengths[row : row + 1],
            read[row : row + 1, ..., :num_frames],
            code_lengths[row : row + 1],
            *([] if name == "ar" else [task(3, 1)]),
        )
        torch.testing.assert_close(together[row, : alone.shape[1]], alone[0])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_cached_logits_equal_those_of_the_full_sequence(together, group):
    model, (phones, phone_lengths, codes, code_lengths) = half("ar", group=group), speech(3, num_frames=24)
    full = model(phones, phone_lengths, codes[:, 0], code_lengths)
    prompts = torch.tensor([0, 8, 4])
    logits, reading = model.start(phones, phone_lengths, codes[:, 0, :8], prompts, room=3, together=together)
    rows = torch.arange(3)
    for step in range(4):
        for place in range(group):
            torch.testing.assert_close(logits[:, place], full[rows, prompts[rows] + step * group + place])
        if step == 1:  # the middle row leaves
            rows = torch.tensor([0, 2])
            reading.keep([0, 2])
        if step < 3:
            frames = prompts[rows, None] + step * group + torch.arange(group)
            logits = model.step(codes[rows[:, None], 0, frames], reading)


def test_the_ar_is_asked_for_the_codes_then_eos_and_never_for_padding():
    codes = torch.tensor([[5, 6, 7], [8, 0, 0]])
    assert ar.targets(codes, torch.tensor([3, 1])).tolist() == [[5, 6, 7, 1024], [8, 1024, IGNORED, IGNORED]]


def test_the_nar_is_asked_for_its_own_codebook_outside_the_prompt_alone():
    codes = torch.arange(48).reshape(2, 8, 3)
    asked = Task(torch.tensor([2, 8]), torch.tensor([1, 0]), torch.tensor([1, 1]))
    assert nar.targets(codes, torch.tensor([3, 2]), asked).tolist() == [[3, IGNORED, 5], [IGNORED, 46, IGNORED]]


@pytest.mark.parametrize("name", ["ar", "nar"])
def test_padding_never_trains(name):
    model, (phones, phone_lengths, codes, code_lengths) = half(name), speech()
    gradients = []
    for phone, code in [(0, 0), (7, 1000)]:
        phones[1, 5:], codes[1, :, 7:] = phone, code
        model.zero_grad()
        if name == "ar":
            logits = model(phones, phone_lengths, codes[:, 0], code_lengths)
            wanted = ar.targets(codes[:, 0], code_lengths)
        else:
            logits = model(phones, phone_lengths, codes, code_lengths, task(5))
            wanted = nar.targets(codes, code_lengths, task(5))
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_stages_and_prompts_are_drawn_for_each_row_whatever_its_neighbours():
    lengths = torch.full((400,), 750)
    drawn = nar.draw(lengths, torch.Generator().manual_seed(0))
    assert set(drawn.stages.tolist()) == set(range(2, 9))
    assert set(drawn.prompt_lengths.tolist()) == {225}
    assert drawn.prompt_starts.min() < 20
    assert 505 < drawn.prompt_starts.max() <= 525
    lengths[1:] = 40
    again = nar.draw(lengths, torch.Generator().manual_seed(0))
    assert again.prompt_starts[0] == drawn.prompt_starts[0]
    assert again.stages.equal(drawn.stages)
    assert set(again.prompt_lengths[1:].tolist()) == {20}


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
