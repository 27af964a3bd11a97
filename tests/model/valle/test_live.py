"""Speech heard while it is made: the same frames in pieces, early, and seamless to the decoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.codec.encodec import load_codec
from model.valle.live import Chunking, stream, stream_codes
from model.valle.sampling import Sampling
from model.valle.synthesis import Request, generate
from tests.model.small import random_pair, requests

GREEDY = Sampling(temperature=0)


def test_with_a_look_ahead_as_long_as_the_speech_nothing_is_approximated():
    pair = random_pair(eos_bias=5.0)
    for request in requests():
        [whole] = generate(pair, [request])
        chunks = list(stream_codes(pair, request, chunking=Chunking(5, look_ahead=100)))
        codes = np.concatenate([np.zeros((8, 0), np.uint16), *chunks], axis=1)
        assert codes.tolist() == whole.codes.tolist()


@pytest.mark.parametrize("group", [1, 2])
def test_the_first_codebook_is_the_same_at_any_chunk(group):
    pair, request = random_pair(eos_bias=-100.0, group=group), replace(requests()[3], max_frames=31)
    [whole] = generate(pair, [request])
    chunks = list(stream_codes(pair, request, chunking=Chunking(6, look_ahead=4)))
    assert [chunk.shape[1] for chunk in chunks] == [6, 6, 6, 6, 7]
    assert np.concatenate(chunks, axis=1)[0].tolist() == whole.codes[0].tolist()


def test_the_first_chunk_comes_after_chunk_and_look_ahead_and_no_later():
    pair, steps = random_pair(eos_bias=-100.0), []
    pair.ar.transformer.register_forward_hook(lambda *_: steps.append(1))
    next(stream_codes(pair, replace(requests()[1], max_frames=40), chunking=Chunking(8, look_ahead=3)))
    assert len(steps) == 8 + 3  # the prefix says the first frame, each step another


def test_a_pair_that_knows_its_text_says_it_in_chunks_too(learned):
    pair, known, _ = learned
    request = Request(known[0].phones, known[0].codes[:, :10], seed=0)
    chunks = list(stream_codes(pair, request, GREEDY, Chunking(4, look_ahead=4)))
    said = np.concatenate(chunks, axis=1)
    assert said[0].tolist() == known[0].codes[0, 10:].tolist()
    assert (said == known[0].codes[:, 10:]).mean() > 0.5  # the NAR never met half an utterance in training


def test_nothing_said_is_nothing_heard_and_torch_is_left_as_it_was():
    pair = random_pair(eos_bias=100.0)
    assert list(stream_codes(pair, requests()[1])) == []
    assert list(stream_codes(pair, replace(requests()[1], max_frames=0))) == []
    spoken = stream_codes(random_pair(eos_bias=-100.0), requests()[1], chunking=Chunking(5, 2))
    next(spoken)
    assert not torch.is_inference_mode_enabled()
    with pytest.raises(ValueError, match="one frame at least"):
        Chunking(0)


def test_what_is_heard_is_what_the_codes_say():
    codec, pair = load_codec("embedded"), random_pair(eos_bias=-100.0)
    request = replace(requests()[2], max_frames=23)
    pieces = list(stream(pair, request, codec.decoder_stream(), chunking=Chunking(7, look_ahead=2)))
    codes = np.concatenate(list(stream_codes(pair, request, chunking=Chunking(7, look_ahead=2))), axis=1)
    whole = codec.decode(torch.from_numpy(codes.astype(np.int64))[None]).reshape(-1).numpy()
    assert len(pieces[0]) == 7 * 320
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)
