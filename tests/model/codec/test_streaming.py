"""Blocks with carried state: the same as the whole, as the package itself makes it, whatever the blocks."""

import pytest
import torch
from torch import Tensor

from model.codec import streaming
from model.codec.encodec import HOP, Codec, Shape, build

SHAPES = [
    Shape(n_filters=4, dimension=16, lstm=1, norm="none", num_codebooks=8),
    Shape(n_filters=2, dimension=8, lstm=0, norm="weight_norm", num_codebooks=8),
]


@pytest.fixture(params=SHAPES, ids=["lstm", "no lstm"])
def model(request):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    built = build(request.param)
    for layer in built.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.05)
    return built


def codes(num_frames: int, rows: int = 1, seed: int = 1) -> Tensor:
    return torch.randint(0, 1024, (rows, 8, num_frames), generator=torch.Generator().manual_seed(seed))


def whole(model, given: Tensor) -> Tensor:
    """The waveform as the package decodes it, all at once."""
    with torch.inference_mode():
        return model.decoder(model.quantizer.decode(given.transpose(0, 1)))


@pytest.mark.parametrize("num_frames", [1, 3, 6, 7, 8, 75, 160])
def test_an_encoder_in_blocks_gives_the_latents_of_the_whole(model, num_frames):
    wav = torch.randn(2, 1, num_frames * HOP, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        expected = model.encoder(wav)
    Codec(model)  # folds the norms
    latents = streaming.Stream(streaming.encoder(model.encoder), 2).push(wav, num_frames)
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("step", [1, 7, 25, 100])
def test_a_decoder_to_which_codes_come_bit_by_bit_says_what_the_whole_says(model, step):
    given = codes(160, rows=2)
    expected = whole(model, given)
    stream = Codec(model).decoder_stream()
    spoken = [stream.push(part) for part in given.split(step, dim=-1)]
    torch.testing.assert_close(torch.cat([*spoken, stream.finish()], dim=-1), expected, rtol=1e-4, atol=1e-6)


def test_the_first_seven_frames_come_together_and_then_each_at_once(model):
    stream = Codec(model).decoder_stream()
    spoken = [stream.push(frame).shape[-1] for frame in codes(10).split(1, dim=-1)]
    assert spoken == [0, 0, 0, 0, 0, 0, 7 * HOP, HOP, HOP, HOP]
    assert stream.finish().shape == (1, 1, 0)


@pytest.mark.parametrize("num_frames", [1, 6])
def test_fewer_than_seven_frames_come_at_the_end(model, num_frames):
    given = codes(num_frames, rows=2)
    expected = whole(model, given)
    stream = Codec(model).decoder_stream()
    assert stream.push(given).shape == (2, 1, 0)
    torch.testing.assert_close(stream.finish(), expected, rtol=1e-4, atol=1e-6)


def test_a_push_of_no_frames_says_nothing_and_harms_nothing(model):
    given = codes(20)
    expected = whole(model, given)
    stream = Codec(model).decoder_stream()
    spoken = [stream.push(part) for part in (given[..., :0], given[..., :9], given[..., 9:9], given[..., 9:])]
    torch.testing.assert_close(torch.cat(spoken, dim=-1), expected, rtol=1e-4, atol=1e-6)


def test_the_rows_of_a_stream_stay_the_same(model):
    stream = Codec(model).decoder_stream()
    stream.push(codes(3, rows=2))
    with pytest.raises(ValueError, match="were of 2 rows, and these are of 1"):
        stream.push(codes(3))


def test_long_codes_are_decoded_as_the_whole_and_alone_as_in_a_batch(model):
    given = codes(400, rows=3)
    expected = whole(model, given)
    codec = Codec(model)
    spoken = codec.decode(given)
    torch.testing.assert_close(spoken, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(codec.decode(given[1:2]), spoken[1:2])
