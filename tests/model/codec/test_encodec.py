"""The codec: batches, whole frames, the published shape, our own weights, identities and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import model.codec.encodec as codec_module
from model.codec.encodec import EMBEDDED, HOP, Codec, CodecError, Shape, build, encodec, figures, identity, load_codec
from model.codec.streaming import BLOCK, Stream
from model.cpu.threads import one_thread
from tests.speech import sentences

TINY = Shape(n_filters=4, dimension=16, lstm=1, norm="none", num_codebooks=8)


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def tiny(seed: int = 0):
    torch.manual_seed(seed)
    model = build(TINY)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.05)
    return model


def noise(num_samples: int, seed: int = 1) -> Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def save_safetensors(path: Path, shape: Shape = TINY, seed: int = 0) -> Path:
    save_file({name: t.contiguous() for name, t in tiny(seed).state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"shape": vars(shape)}))
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as EnCodec's authors publish it, made by their package, with random weights."""
    torch.manual_seed(0)
    with pytest.warns(FutureWarning, match="weight_norm"):
        theirs = encodec().EncodecModel.encodec_model_24khz(pretrained=False)
    for layer in theirs.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.01)
        layer._codebook.inited.fill_(1)
    path = tmp_path_factory.mktemp("published") / "encodec.th"
    torch.save(theirs.state_dict(), path)
    return theirs, path


def test_a_batch_of_unequal_lengths_equals_its_single_items_in_all_codebooks():
    codec = Codec(tiny())
    waveforms = [noise(n, seed=n) for n in (24_000, 9_601, 1_000, 320, 1)]
    batch = codec.encode(waveforms)
    assert batch.shape == (5, 8, 75)
    for row, wav in zip(batch, waveforms, strict=True):
        single = codec.encode(wav[None, None])[0]
        assert torch.equal(row[:, : single.shape[-1]], single)
        assert not row[:, single.shape[-1] :].any()


@pytest.mark.parametrize("num_frames", [7, 20])
def test_zeros_on_the_right_change_no_latent_of_seven_frames_or_more(num_frames):
    model = tiny()
    wav = noise(num_frames * HOP)[None, None]
    padded = torch.nn.functional.pad(wav, (0, 30 * HOP))
    with torch.inference_mode():
        torch.testing.assert_close(model.encoder(padded)[..., :num_frames], model.encoder(wav))


def test_fewer_than_seven_frames_would_see_the_padding():
    model = tiny()
    wav = noise(3 * HOP)[None, None]
    with torch.inference_mode():
        longer = model.encoder(torch.nn.functional.pad(wav, (0, 30 * HOP)))[..., :3]
        assert not torch.allclose(longer, model.encoder(wav), atol=1e-4)


@pytest.mark.parametrize(("num_samples", "num_frames"), [(1, 1), (319, 1), (320, 1), (321, 2), (24_000, 75)])
def test_frames_are_samples_over_320_rounded_up(num_samples, num_frames):
    codec = Codec(tiny())
    codes = codec.encode([noise(num_samples)])
    assert codes.shape == (1, 8, num_frames)
    assert Codec.num_frames(num_samples) == num_frames
    assert codec.decode(codes).shape == (1, 1, num_frames * HOP)


def test_fewer_codebooks_are_the_first_of_more():
    wav = [noise(4_800)]
    assert torch.equal(Codec(tiny(), num_codebooks=2).encode(wav), Codec(tiny()).encode(wav)[:, :2])


def test_decoding_a_batch_equals_decoding_its_items():
    codec = Codec(tiny())
    codes = codec.encode([noise(6_400, seed=s) for s in (1, 2)])
    assert torch.equal(codec.decode(codes), torch.cat([codec.decode(row[None]) for row in codes]))


@pytest.mark.parametrize("num_rows", [1, 3, 16])
def test_codes_alone_are_codes_in_a_batch_of_any_size(num_rows, published):
    codec = load_codec(published[1])
    waveforms = [noise(6_000 + 500 * i, seed=i) for i in range(num_rows)]
    for row, wav in zip(codec.encode(waveforms), waveforms, strict=True):
        single = codec.encode([wav])[0]
        assert torch.equal(row[:, : single.shape[-1]], single)


@pytest.mark.parametrize("num_frames", [1, 6, 7, 8, 74, 75, 76, 149, 150, 151, 300])
def test_blocks_give_the_codes_of_the_whole_in_all_codebooks(num_frames, monkeypatch):
    theirs = tiny()
    monkeypatch.setattr(codec_module, "_SPAN", BLOCK)  # every second goes through the LSTM by itself
    wav = noise(num_frames * HOP)[None, None]
    with torch.inference_mode():
        whole = theirs.quantizer.vq.encode(theirs.encoder(wav), n_q=8).transpose(0, 1)
    assert torch.equal(Codec(theirs).encode(wav), whole)


def test_the_memory_of_an_encoding_does_not_grow_with_its_length(monkeypatch):
    codec, widest = Codec(tiny()), []
    push = Stream.push
    monkeypatch.setattr(Stream, "push", lambda self, x, *rest: widest.append(x.shape[-1]) or push(self, x, *rest))
    codec.encode([noise(HOP * 75 * 100)])
    assert max(widest) == 32 * 75 * HOP
    assert len(widest) == 4


def test_half_the_precision_gives_nearly_the_same_latents_and_mostly_the_same_first_codes():
    fast, exact = Codec(tiny(), precision="bf16"), Codec(tiny())
    codes, truth = (c.encode([noise(48_000)]) for c in (fast, exact))
    assert codes.shape == truth.shape
    assert 0.9 < float((codes == truth)[:, 0].float().mean()) <= 1
    assert not torch.equal(codes, truth)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(CodecError, match="fp32 or bf16, not fp8"):
        Codec(tiny(), precision="fp8")


def test_a_published_checkpoint_gives_the_codes_of_its_own_package(published):
    theirs, path = published
    codec = load_codec(path)
    wav = noise(75 * HOP)[None, None]
    theirs.set_target_bandwidth(6.0)
    with torch.inference_mode():
        ((codes, _),) = theirs.encode(wav)
        waveform = theirs.decode([(codes, None)])
    assert torch.equal(codec.encode(wav), codes)
    torch.testing.assert_close(codec.decode(codes), waveform, rtol=1e-4, atol=1e-6)


def test_a_part_frame_is_filled_with_zeros_where_the_package_would_reflect(published):
    theirs, path = published
    codec = load_codec(path)
    wav = noise(10 * HOP + 100)
    filled = torch.nn.functional.pad(wav, (0, HOP - 100))
    theirs.set_target_bandwidth(6.0)
    with torch.inference_mode():
        ((codes, _),) = theirs.encode(filled[None, None])
    assert torch.equal(codec.encode([wav]), codes)


def test_weights_and_shape_come_back_from_safetensors(tmp_path):
    codec = load_codec(save_safetensors(tmp_path / "codec.safetensors"), num_codebooks=8)
    wav = [noise(4_800)]
    assert torch.equal(codec.encode(wav), Codec(tiny()).encode(wav))


def test_an_identity_is_of_the_content_and_not_of_the_path(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    here = identity(save_safetensors(tmp_path / "a.safetensors"))
    there = identity(save_safetensors(tmp_path / "elsewhere" / "b.safetensors"))
    assert here == there
    assert here != identity(save_safetensors(tmp_path / "c.safetensors", seed=1))
    assert here != identity(save_safetensors(tmp_path / "d.safetensors", replace(TINY, num_codebooks=9)))


def test_the_published_identity_needs_no_weights():
    assert identity("encodec_24khz") == "encodec_24khz@d7cc33bc"


def test_a_missing_file_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(CodecError, match=r"there is no codec .*nothing\.th"):
        load_codec(tmp_path / "nothing.th")
    with pytest.raises(CodecError, match="there is no codec encodec_48khz"):
        identity("encodec_48khz")


def test_weights_without_their_shape_are_refused(tmp_path):
    path = save_safetensors(tmp_path / "codec.safetensors")
    path.with_suffix(".json").unlink()
    with pytest.raises(CodecError, match=r"codec\.json is no file"):
        load_codec(path)


@pytest.mark.parametrize("described", ["", "[]", "{}", '{"shape": {"filters": 3}}'])
def test_a_shape_that_is_none_is_refused(tmp_path, described):
    path = save_safetensors(tmp_path / "codec.safetensors")
    path.with_suffix(".json").write_text(described)
    for read in (load_codec, identity):
        with pytest.raises(CodecError, match=r"codec\.json does not give the shape"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 torn"])
@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
def test_a_file_that_holds_no_weights_is_refused_in_one_sentence(tmp_path, content, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps({"shape": vars(TINY)}))
    with pytest.raises(CodecError, match=r"broken.* cannot be read as an EnCodec") as refusal:
        load_codec(path)
    assert "\n" not in str(refusal.value)


def test_weights_of_another_model_or_shape_are_refused_in_one_sentence(tmp_path):
    other = tmp_path / "other.th"
    torch.save({"weight": torch.zeros(3)}, other)
    wider = save_safetensors(tmp_path / "wider.safetensors", replace(TINY, n_filters=8))
    for path in (other, wider):
        with pytest.raises(CodecError, match="is no EnCodec of Shape") as refusal:
            load_codec(path)
        assert "\n" not in str(refusal.value)


def test_more_codebooks_than_there_are_and_empty_waveforms_are_refused():
    with pytest.raises(CodecError, match="8 codebooks"):
        Codec(tiny(), num_codebooks=9)
    with pytest.raises(ValueError, match="empty"):
        Codec(tiny()).encode([torch.zeros(0)])
    with pytest.raises(ValueError, match="no waveform"):
        Codec(tiny()).encode([])


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded weights are not here")
def test_the_embedded_codec_carries_speech():
    from deploy.embedded.codec import bands, mel_filters  # it keeps the spectrum, and no phase

    [(_, speech)] = sentences(1, 24_000)
    wav = torch.from_numpy(speech[: len(speech) // HOP * HOP])
    codec = load_codec("embedded")
    codes = codec.encode([wav])
    shuffled = codes[..., torch.randperm(codes.shape[-1], generator=torch.Generator().manual_seed(0))]
    truth, decoded, by_chance = (
        bands(heard[None], mel_filters()) for heard in (wav, codec.decode(codes)[0, 0], codec.decode(shuffled)[0, 0])
    )
    spread = (truth - truth.mean(2, keepdim=True)).pow(2).mean()
    assert (decoded - truth).pow(2).mean() < 0.5 * spread
    assert (by_chance - truth).pow(2).mean() > spread
    assert codes.unique().numel() > 500
    assert identity("embedded").startswith("embedded@")
    assert figures()["stoi"] > 0.8
    assert EMBEDDED.stat().st_size < 10_000_000
