"""Reading phone by phone: the alignment finds what was planted, and nothing is left out or said twice."""

import numpy as np
import pytest
import torch

from model.training.trainer import Training, Where, train
from model.valle import alignment, monotonic
from model.valle.alignment import Symbols
from model.valle.ar import IGNORED, NUM_CODES
from model.valle.batch import Example, collate
from model.valle.decoding import speak
from model.valle.sampling import Sampling
from model.valle.settings import CODEBOOK_SIZE, Settings, Size
from model.valle.synthesis import Request, generate
from tests.model.small import half, random_pair, requests

TABLE = (" ", ".", "ˈ", "a", "b", "c", "d", "e")
SOUNDS = range(3, 8)  # of the table
WAVES = {phone: 100 * phone for phone in range(8)}  # the first of ten codes that a phone sounds as


def planted(seed, num_phones=9):
    """An utterance whose every phone sounds as one of ten codes of its own, and the phone of each frame."""
    draw = np.random.default_rng(seed)
    steps = draw.integers(1, len(SOUNDS), num_phones).cumsum() % len(
        SOUNDS
    )  # none twice in a row: where would it begin?
    phones = [SOUNDS[int(step)] for step in steps]
    phones = [*phones[:4], 0, 2, *phones[4:], 1]
    said = [(place, phone) for place, phone in enumerate(phones) if phone != 2]
    frames = [(place, phone) for place, phone in said for _ in range(2 * draw.integers(1, 4))]
    codes = np.array([WAVES[phone] + draw.integers(10) for _, phone in frames])
    whole = np.repeat(codes[None], 8, 0).astype(np.uint16)
    return Example(np.array(phones, np.uint16), whole), [place for place, _ in frames]


def rows_of(examples):
    batch = collate(examples)
    return batch.phones, batch.phone_lengths, batch.codes[:, 0], batch.code_lengths


def test_marks_are_no_states_and_pauses_in_a_row_are_one():
    phones = torch.tensor([[3, 1, 0, 2, 4, 0]])
    states = alignment.states(phones, torch.tensor([6]), Symbols.of(TABLE))
    assert states.lengths.tolist() == [5]
    assert states.ids[0, :, 1].tolist() == [0, 3, 1, 4, 0, len(TABLE)]  # a pause before, the end behind
    assert states.ids[0, 3, 0] == 2  # what stands before it is told: it is stressed
    assert states.places[0].tolist() == [0, 0, 1, 4, 5, 6]


def test_the_alignment_finds_what_is_said_when():
    spoken = [planted(seed) for seed in range(100)]
    rows = rows_of([example for example, _ in spoken])
    symbols = Symbols.of(TABLE)
    table = alignment.fit(lambda: [rows], symbols)
    states = alignment.states(rows[0], rows[1], symbols)
    found = alignment.align(table, states, rows[2], rows[3]).repeat_interleave(alignment.UNIT, 1)
    places = states.places.gather(1, found)
    right = [
        place == int(places[row, frame]) for row, (_, said) in enumerate(spoken) for frame, place in enumerate(said)
    ]
    assert np.mean(right) > 0.97


def test_an_alignment_never_goes_back_and_never_leaves_out_a_phone():
    rows = rows_of([planted(seed)[0] for seed in range(8)])
    states = alignment.states(rows[0], rows[1], Symbols.of(TABLE))
    table = torch.randn(len(TABLE), CODEBOOK_SIZE, generator=torch.Generator().manual_seed(0))
    found = alignment.align(table, states, rows[2], rows[3])
    for row, states_of_row in enumerate(found.tolist()):
        said = states_of_row[: -(-int(rows[3][row]) // alignment.UNIT)]
        assert said == sorted(said)
        assert {place for place in range(int(states.lengths[row])) if not states.pauses[row, place]} <= set(said)


def test_more_phones_than_speech_are_spread_evenly():
    phones, codes = torch.tensor([[3, 4, 5, 6, 7, 3, 4, 5]]), torch.zeros(1, 6, dtype=torch.long)
    states = alignment.states(phones, torch.tensor([8]), Symbols.of(TABLE))
    table = torch.zeros(len(TABLE), CODEBOOK_SIZE)
    assert alignment.align(table, states, codes, torch.tensor([6])).tolist() == [[0, 3, 6]]


@pytest.mark.parametrize("group", [1, 2, 4])
def test_the_choices_lead_from_each_state_to_the_next(group):
    rows = rows_of([planted(seed)[0] for seed in range(4)])
    symbols = Symbols.of(TABLE)
    states = alignment.states(rows[0], rows[1], symbols)
    table = alignment.fit(lambda: [rows], symbols)
    said = monotonic.follow(table, states, rows[2], rows[3], group)
    choices = monotonic.choices(said, states, group, IGNORED)
    assert said.shape[1] == rows[2].shape[1] // group + 1
    for path, steps, end in zip(said.tolist(), choices.tolist(), states.lengths.tolist(), strict=True):
        here = path[0]
        for place, step in enumerate(steps):
            if step == IGNORED:
                assert path[place] == end
                continue
            assert path[place] == here
            here += step
        assert here == end


@pytest.mark.parametrize("chained", [False, True])
def test_a_cached_step_says_what_the_whole_row_says(chained):
    model = half("ar", group=2, monotonic=True, chained=chained)
    if chained:
        torch.nn.init.normal_(model.chain_out.weight, std=0.2)
    model.heard_as.data.normal_(generator=torch.Generator().manual_seed(0))
    batch = collate([Example(np.array([1, 2, 3, 4], np.uint16), np.arange(24, dtype=np.uint16)[None])])
    rows = (batch.phones, batch.phone_lengths, batch.codes[:, 0], batch.code_lengths)
    pointed, _ = model.follow(*rows)
    whole = model(*rows, None, pointed)
    prompt = (batch.phones, batch.phone_lengths, batch.codes[:, 0, :8], torch.tensor([8]))
    pointing = model.find(*prompt, torch.zeros(1, 20), [None])
    pointing.so_far = pointed[:, :5]
    logits, reading = model.start(*prompt, 8, None, False, pointing)
    for group in range(4, 12):
        wanted = whole[:, 2 * group : 2 * group + 2]
        torch.testing.assert_close(logits[:, 0], wanted[:, 0], rtol=0, atol=1e-9)
        second = logits[:, 1, :NUM_CODES]
        if chained:
            second = model.chained(1, batch.codes[:, 0, 2 * group], reading)
            assert (second - logits[:, 1, :NUM_CODES]).abs().max() > 0.01
        torch.testing.assert_close(second, wanted[:, 1, :NUM_CODES], rtol=0, atol=1e-9)
        said = alignment.states(*rows[:2], model._symbols)
        reading.pointing.at = monotonic.follow(model.heard_as, said, *rows[2:], 2)[:, group + 1]
        logits = model.step(batch.codes[:, 0, 2 * group : 2 * group + 2], reading)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_speech_ends_where_the_phones_end_and_not_before(group):
    pair = random_pair(eos_bias=9.0, group=group, monotonic=True)
    phones, prompt = np.array([1, 2, 3, 4, 5], np.uint16), np.zeros((8, 0), np.uint16)
    for seed in range(5):
        steps = list(speak(pair.ar, [Request(phones, prompt, seed, max_frames=2_000)], Sampling()))
        assert all(CODEBOOK_SIZE not in step.codes for step in steps[:-1])
        assert CODEBOOK_SIZE in steps[-1].codes
        assert len(steps) > len(phones) * max(1, 2 // group) / 2


@pytest.mark.parametrize("options", [{"monotonic": True}, {"chained": True}, {"monotonic": True, "chained": True}])
def test_a_row_says_the_same_alone_and_among_others(options):
    pair = random_pair(group=2, **options)
    if pair.ar.settings.chained:
        torch.nn.init.normal_(pair.ar.chain_out.weight, std=0.2)
    for request, together in zip(requests(), generate(pair, requests()), strict=True):
        [alone] = generate(pair, [request])
        assert alone.codes.tolist() == together.codes.tolist()


@pytest.mark.slow
def test_a_half_that_learnt_to_read_reads_what_it_never_saw(tmp_path):
    """Phones in orders that it never met come back one by one, each as its own codes."""
    known = [planted(seed)[0]._replace(speaker="one") for seed in range(150)]
    size = Size(num_layers=2, num_heads=2, width=32, ffn_width=64, dropout=0.0)
    asked = Settings("ar", size, TABLE, "a codec", group=2, monotonic=True)
    how = Training(steps=150, learning_rate=8e-3, warmup_steps=20, batch_frames=500, validate_every=150)
    train(asked, how, [known], known[:16], tmp_path, Where(tensorboard=False))
    from model.valle.checkpoint import load

    model, right = load(tmp_path), []
    for seed in range(1_000, 1_010):
        unseen, _ = planted(seed)
        spoken = np.concatenate(
            [step.codes[0] for step in speak(model, [Request(unseen.phones, unseen.codes[:, :0], seed)], Sampling())]
        )
        heard = [int(code) // 100 for code in spoken if code < CODEBOOK_SIZE and code // 100 in SOUNDS]
        read = [phone for place, phone in enumerate(heard) if place == 0 or heard[place - 1] != phone]
        wanted = [int(phone) for phone in unseen.phones if phone in SOUNDS]
        right.append(read == [phone for place, phone in enumerate(wanted) if place == 0 or wanted[place - 1] != phone])
    assert np.mean(right) >= 0.7


@pytest.mark.slow
def test_codes_of_a_group_that_go_together_are_said_together(tmp_path):
    """Where the first of two codes is anyone's guess and the second is always its neighbour, a chain learns both."""
    draw = np.random.default_rng(0)
    firsts = [2 * draw.integers(0, 8, 6).repeat(2) for _ in range(64)]
    lines = [np.repeat((first + np.arange(12) % 2)[None], 8, 0).astype(np.uint16) for first in firsts]
    known = [Example(np.array([3], np.uint16), codes) for codes in lines]
    size = Size(num_layers=1, num_heads=2, width=32, ffn_width=64, dropout=0.0)
    how = Training(steps=150, learning_rate=1e-2, warmup_steps=10, batch_frames=400, validate_every=150)
    losses = []
    for chained in (False, True):
        asked = Settings("ar", size, TABLE, "a codec", group=2, chained=chained)
        losses.append(
            train(asked, how, [known], known[:16], tmp_path / str(chained), Where(tensorboard=False))[-1].valid_loss
        )
    apart, chained = losses
    assert chained < apart - 0.6  # of two codes in 13 (an end among them) one is known: half of ln 8


def test_a_chain_needs_a_group():
    with pytest.raises(ValueError, match="group is 1"):
        half("ar", chained=True)


def test_the_logits_of_codes_come_before_those_of_choices():
    model = half("ar", group=4, monotonic=True)
    batch = collate([planted(0)[0]._replace(phones=np.array([1, 2, 3], np.uint16))])
    rows = (batch.phones, batch.phone_lengths, batch.codes[:, 0], batch.code_lengths)
    assert model(*rows, None, model.follow(*rows)[0]).shape[-1] == NUM_CODES + monotonic.num_choices(4)
