"""Speaking: what was learned comes back exactly, alone or among others, and nothing it says is an error."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from model.valle import precision
from model.valle.decoding import choose
from model.valle.live import Chunking, stream_codes
from model.valle.precision import lighten
from model.valle.sampling import Sampling
from model.valle.settings import Size
from model.valle.synthesis import Pair, Request, best_of, generate
from tests.model.small import random_pair, requests

GREEDY = Sampling(temperature=0)


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


def test_the_cache_changes_nothing_but_time(tmp_path):
    """Each code is the likeliest of the logits of the whole sequence before it, computed anew."""
    pair, request = random_pair(), replace(requests()[4], max_frames=12)
    [result] = generate(pair, [request], GREEDY)
    codes = np.concatenate([request.prompt_codes[0], result.codes[0]]).astype(np.int64)
    phones = torch.from_numpy(request.phones.astype(np.int64))[None]
    logits = pair.ar(phones, torch.tensor([phones.shape[1]]), torch.from_numpy(codes)[None], torch.tensor([len(codes)]))
    prompt = request.prompt_codes.shape[1]
    assert logits[0, prompt:-1].argmax(dim=-1).tolist() == result.codes[0].tolist()


WIDE = Size(num_layers=2, num_heads=4, width=256, ffn_width=1024, dropout=0.0)  # wide enough to meet real kernels


@pytest.mark.parametrize("company", [3, 16])
def test_a_row_is_the_same_to_the_last_bit_in_whatever_company(company):
    """Not the codes alone: every logit of the AR, in float32 on a CPU, whose kernels sum lone rows otherwise."""
    pair = random_pair(eos_bias=-100.0, size=WIDE)  # nobody leaves, so that a row keeps its place
    wanted = [replace(request, max_frames=12) for request in requests(company)]
    said = {}
    for name, rows, place in (("alone", wanted[2:3], 0), ("first", wanted[2:] + wanted[:2], 0), ("third", wanted, 2)):
        whole, logits = pair.ar.step, []

        def step(*args, whole=whole, logits=logits, place=place):
            found = whole(*args)
            logits.append(found[place].clone())
            return found

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pair.ar, "step", step)
            codes = generate(pair, rows, Sampling(top_p=1.0))[place].codes
        said[name] = (torch.stack(logits[:5]), codes.tolist())
    for name in ("first", "third"):
        assert said[name][1] == said["alone"][1]
        assert said[name][0].equal(said["alone"][0])


def test_a_static_cache_and_a_compiled_step_say_the_same(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    pair = random_pair(eos_bias=5.0)
    for plain, compiled in zip(generate(pair, requests()), generate(pair, requests(), compile=True), strict=True):
        assert compiled.codes.tolist() == plain.codes.tolist()


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_lighter_weights_say_nearly_the_same_whatever_the_company(learned, kind):
    pair, known, _ = learned
    light = pair.lighten(kind)
    asked = [Request(example.phones, example.codes[:, :8], seed=0) for example in known]
    together = generate(light, asked, GREEDY)
    for result, example in zip(together, known, strict=True):
        assert result.codes[0].tolist() == example.codes[0, 8:].tolist()
    for request, result in zip(asked, together, strict=True):
        assert generate(light, [request], GREEDY)[0].codes.tolist() == result.codes.tolist()
    assert pair.lighten("float32").ar is pair.ar


def test_a_torch_without_the_8_bit_product_says_the_same_more_slowly(learned, monkeypatch):
    pair, known, _ = learned
    asked = [Request(example.phones, example.codes[:, :8], seed=0) for example in known]
    packed = generate(pair.lighten("int8"), asked, GREEDY)
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    precision._packed_product.cache_clear()
    try:
        light = pair.lighten("int8")
        layer = light.ar.transformer.layers[0].ffn_in
        assert layer._product is precision.unpacked_product
        together = generate(light, asked, GREEDY)
        for request, result, before in zip(asked, together, packed, strict=True):
            assert result.codes.tolist() == before.codes.tolist()
            assert generate(light, [request], GREEDY)[0].codes.tolist() == result.codes.tolist()
    finally:
        precision._packed_product.cache_clear()


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_8_bit_product_and_what_stands_in_for_it_are_equal(rows):
    layer = precision.Int8(torch.nn.Linear(512, 96))
    x = torch.randn(rows, 512, generator=torch.Generator().manual_seed(rows))
    operands = (x.bfloat16(), layer.weight, layer.scale)
    torch.testing.assert_close(layer._product(*operands), precision.unpacked_product(*operands), rtol=2**-7, atol=1e-4)


def test_lighter_weights_are_lighter():
    pair = random_pair()
    light = lighten(pair.ar, "int8")
    assert light.transformer.layers[0].ffn_in.weight.dtype is torch.int8
    assert lighten(pair.nar, "int8").transformer.layers[0].ffn_in.weight.dtype is torch.bfloat16
    assert pair.ar.transformer.layers[0].ffn_in.weight.dtype is torch.float32
    with pytest.raises(ValueError, match="int8 is for the CPU"):
        lighten(pair.ar.to("meta"), "int8")


@pytest.mark.parametrize("group", [2, 4])
def test_groups_say_the_same_alone_and_among_others(group):
    pair = random_pair(eos_bias=5.0, group=group)
    together = generate(pair, requests())
    assert len({result.codes.shape[1] for result in together}) > 1
    for request, result in zip(requests(), together, strict=True):
        assert generate(pair, [request])[0].codes.tolist() == result.codes.tolist()


def test_the_language_decides_what_is_said_and_must_be_known():
    pair = random_pair(languages=("en", "fr"))
    said = [generate(pair, requests(3, language), GREEDY)[2].codes.tolist() for language in ("en", "fr")]
    assert said[0] != said[1]
    with pytest.raises(ValueError, match="the language is 'de', and must be one of en, fr"):
        generate(pair, requests(3, "de"))
    with pytest.raises(ValueError, match="the language is None, and must be one of en, fr"):
        generate(pair, requests(3))
    with pytest.raises(ValueError, match="this half knows none"):
        generate(random_pair(), requests(3, "en"))


def test_the_best_of_several_is_what_the_scorer_likes_best():
    pair, asked = random_pair(eos_bias=4.0), requests(3)
    scored = []

    def length(request, generated):
        scored.append(request.seed)
        return (float(generated.codes.shape[1]),)

    best = best_of(pair, asked, 4, length)
    assert scored == [0] * 4 + [1] * 4 + [2] * 4
    for request, result in zip(asked, best, strict=True):
        assert result.codes.shape[1] >= generate(pair, [request])[0].codes.shape[1]
    for one, plain in zip(best_of(pair, asked, 1, length), generate(pair, asked), strict=True):
        assert one.codes.tolist() == plain.codes.tolist()


def test_a_nar_may_choose_what_lies_nearest_to_all_that_it_thinks_likely():
    """Between two codes far apart it takes the one in the middle, however unlikely, and never fails for want of it."""
    codebooks = torch.linspace(-1, 1, 1024)[None, :, None].expand(8, -1, 3)
    logits = torch.full((1, 2, 1024), -20.0)
    logits[0, 0, [0, 1023]], logits[0, 1, 700] = 5.0, 5.0
    nar = random_pair(choice="expected").nar
    chosen, missed = choose(nar, logits, 2, codebooks)
    assert chosen[0, 0].item() in (511, 512)
    assert chosen[0, 1].item() == 700
    assert choose(random_pair().nar, logits, 2, None)[0][0, 0].item() in (0, 1023)
    assert choose(nar, logits, 3, codebooks, missed + 0.5)[0][0, 0].item() in (
        767,
        768,
    )  # what one misses the next makes up
    with pytest.raises(ValueError, match="give the pair its codec"):
        generate(Pair(random_pair().ar, nar), requests()[2:])


def test_a_pair_beside_its_codec_chooses_alike_at_once_and_in_chunks():
    pair = random_pair(choice="expected").beside(torch.randn(8, 1024, 5, generator=torch.Generator().manual_seed(0)))
    request = requests()[4]
    chunks = list(stream_codes(pair, request, chunking=Chunking(chunk_frames=100, look_ahead=0)))
    assert np.concatenate(chunks, axis=1).tolist() == generate(pair, [request])[0].codes.tolist()
