"""Speaking: what was learned comes back exactly, alone or among others, and nothing it says is an error."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.ar import AR
from model.batches import Example
from model.nar import NAR
from model.sampling import Sampling
from model.settings import Settings, Size
from model.synthesis import FRAMES_PER_PHONE, Pair, Request, generate, limit, load_pair
from model.training import Training, train

SYMBOLS = tuple("abcdefgh")
GREEDY = Sampling(temperature=0)


def random_speech(seed, num_phones=5, num_frames=24):
    draw = np.random.default_rng(seed)
    phones = draw.integers(0, len(SYMBOLS), num_phones).astype(np.uint16)
    return Example(phones, draw.integers(0, 1024, (8, num_frames)).astype(np.uint16))


def random_pair(eos_bias=0.0, seed=0):
    """Two halves that know nothing; `eos_bias` is the AR's logit of `<EOS>` at every frame."""
    torch.manual_seed(seed)
    size = Size(num_layers=2, num_heads=2, width=32, ffn_width=64, dropout=0.0)
    first, second = AR(Settings("ar", size, SYMBOLS, "")), NAR(Settings("nar", size, SYMBOLS, ""))
    first.transformer.norm.norm.weight.data[0], first.transformer.norm.norm.bias.data[0] = 0.0, 1.0
    first.code_embedding.weight.data[1024] = 0.0
    first.code_embedding.weight.data[1024, 0] = eos_bias
    return Pair(first.eval(), second.eval())


def requests(count=5):
    """Texts, prompts and limits of many lengths; the first has no prompt."""
    found = []
    for number in range(count):
        said = random_speech(number, num_phones=3 + number % 3, num_frames=4 * number)
        found.append(Request(said.phones, said.codes, seed=number, max_frames=40 - 3 * number))
    return found


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A pair that knows three utterances by heart, and the utterances."""
    folder = tmp_path_factory.mktemp("learned")
    size = Size(num_layers=2, num_heads=4, width=64, ffn_width=128, dropout=0.0)
    known = [random_speech(seed, num_frames=20 + 4 * seed) for seed in range(3)]
    training = Training(steps=150, learning_rate=1e-2, warmup_steps=10, batch_frames=200, validate_every=150)
    first = [Example(example.phones, example.codes[:1]) for example in known]
    records = {
        "ar": train(Settings("ar", size, SYMBOLS, ""), training, [first], first, folder / "ar"),
        "nar": train(
            Settings("nar", size, SYMBOLS, ""), replace(training, steps=250), [known[:1] * 8], known[:1], folder / "nar"
        ),
    }
    return load_pair(folder / "ar", folder / "nar"), known, records


def test_both_halves_learn_a_few_utterances_by_heart(learned):
    _, _, records = learned
    for half in ("ar", "nar"):
        assert records[half][0].valid_loss > 6
        assert records[half][-1].valid_loss < 0.05
        assert records[half][-1].valid_top10 == 1.0


def test_what_was_learned_is_spoken_back_exactly(learned):
    pair, known, _ = learned
    prompt = 10  # frames, half of it, as in training
    spoken = generate(pair, [Request(known[0].phones, known[0].codes[:, :prompt], seed=3)], GREEDY)[0]
    assert spoken.finished
    assert spoken.codes.dtype == np.uint16
    assert spoken.codes.tolist() == known[0].codes[:, prompt:].tolist()


def test_continuation_really_runs_the_ar(learned):
    """What follows the prompt comes from the phones and the prompt: no truth is handed over, and none copied."""
    pair, known, _ = learned
    others = [Request(example.phones, example.codes[:, :8], seed=0) for example in known]
    for spoken, example in zip(generate(pair, others, GREEDY), known, strict=True):
        assert spoken.finished
        assert spoken.codes[0].tolist() == example.codes[0, 8:].tolist()
    crossed = Request(known[0].phones, known[1].codes[:, :8], seed=0)
    assert generate(pair, [crossed], GREEDY)[0].codes[0].tolist() != known[0].codes[0, 8:].tolist()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=1.0, window=0), Sampling(top_k=5), GREEDY])
def test_a_row_says_the_same_alone_and_among_others(sampling):
    pair = random_pair(eos_bias=5.0)
    together = generate(pair, requests(), sampling)
    assert len({result.codes.shape[1] for result in together}) > 1
    for request, result in zip(requests(), together, strict=True):
        [alone] = generate(pair, [request], sampling)
        assert alone.finished == result.finished
        assert alone.codes.tolist() == result.codes.tolist()
    for result, other in zip(together, generate(pair, requests(), sampling, num_rows=2), strict=True):
        assert result.codes.tolist() == other.codes.tolist()


def test_the_seed_of_a_row_decides_what_it_says():
    pair, request = random_pair(), requests()[3]
    first, again, other = generate(pair, [request, request, replace(request, seed=77)])
    assert first.codes.tolist() == again.codes.tolist() != other.codes.tolist()


def test_an_endless_row_ends_at_its_limit_and_says_so():
    request = replace(requests()[2], max_frames=None)
    [endless] = generate(random_pair(eos_bias=-100.0), [request])
    assert not endless.finished
    assert endless.codes.shape == (8, limit(request)) == (8, FRAMES_PER_PHONE * 5 - 8 + 75)


def test_an_empty_row_is_a_result_too():
    empty, _ = generate(random_pair(eos_bias=100.0), requests()[:2])
    assert not empty.finished
    assert empty.codes.shape == (8, 0)
    assert generate(random_pair(), []) == []
    [none_wanted] = generate(random_pair(), [replace(requests()[1], max_frames=0)])
    assert not none_wanted.finished
    assert none_wanted.codes.shape == (8, 0)


def test_eos_ends_a_row_only_where_it_was_drawn():
    """The likeliest code is `<EOS>` at every frame, yet a row goes on while something else is drawn."""
    pair = random_pair(eos_bias=7.0)
    lengths = [
        result.codes.shape[1]
        for result in generate(pair, [replace(requests()[1], seed=seed) for seed in range(40)], Sampling(top_p=1.0))
    ]
    assert generate(pair, [requests()[1]], GREEDY)[0].codes.shape[1] == 0
    assert max(lengths) > 0


def test_the_cache_changes_nothing_but_time(tmp_path):
    """Each code is the likeliest of the logits of the whole sequence before it, computed anew."""
    pair, request = random_pair(), replace(requests()[4], max_frames=12)
    [result] = generate(pair, [request], GREEDY)
    codes = np.concatenate([request.prompt_codes[0], result.codes[0]]).astype(np.int64)
    phones = torch.from_numpy(request.phones.astype(np.int64))[None]
    logits = pair.ar(phones, torch.tensor([phones.shape[1]]), torch.from_numpy(codes)[None], torch.tensor([len(codes)]))
    prompt = request.prompt_codes.shape[1]
    assert logits[0, prompt:-1].argmax(dim=-1).tolist() == result.codes[0].tolist()
