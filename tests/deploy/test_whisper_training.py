"""The trainer of the embedded Whisper: what it reads is aligned, and what it writes is a Whisper."""

from pathlib import Path

import numpy as np
import pytest
import torch
import whisper
from whisper.model import Whisper

from deploy.embedded import whisper as training
from deploy.embedded.speech import TRAIN_VOICES
from deploy.embedded.windows import (
    POSITIONS_PER_SECOND,
    SAMPLE_RATE,
    Bank,
    Speech,
    english,
    held_out,
    make_batch,
    rows,
    speak_words,
    targets,
    word_classes,
)

TEXT = "Jane, the friend of the king, slept."


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Whisper:
    torch.manual_seed(0)
    return training.new_model().eval()


def test_every_word_has_its_time_also_those_that_run_together() -> None:
    speech = speak_words(TEXT, TRAIN_VOICES[0], pace=1.0)
    assert len(speech.spans) == len(TEXT.split())
    assert all(start < end for start, end in speech.spans)
    assert all(end <= start for (_, end), (start, _) in zip(speech.spans, speech.spans[1:], strict=False))
    assert speech.spans[-1][1] <= len(speech.waveform) / SAMPLE_RATE + 0.01


def test_a_slower_pace_stretches_words_and_sound_alike() -> None:
    plain, slow = (speak_words("The king slept.", TRAIN_VOICES[0], pace) for pace in (1.0, 1.25))
    # espeak-ng's timing depends a little on what the process has said before, hence the 6 %
    assert len(slow.waveform) == pytest.approx(1.25 * len(plain.waveform), rel=0.06)
    assert slow.spans[-1][0] == pytest.approx(1.25 * plain.spans[-1][0], rel=0.06)


def test_each_token_knows_where_its_word_is_said() -> None:
    speech = Speech("The king slept.", np.zeros(0, np.float32), [(0.0, 0.2), (0.2, 0.5), (0.5, 1.0)])
    read, answer, heard, words = targets(speech, positions=100)
    token = {row: token for token, row in rows().items()}
    assert english().decode([token[row] for row in answer[1:-1].tolist()]) == " The king slept."
    assert answer[1:-1].tolist() == read[2:].tolist()
    assert not heard[0].any()
    assert not heard[-1].any()
    king = answer.tolist().index(rows()[english().encode(" king")[0]])
    assert heard[king].nonzero().flatten().tolist() == list(range(7, 28))  # 0.2 to 0.5 s and 60 ms around
    assert words[15] == word_classes()["king"]
    assert words[60] == 0


def test_silence_answers_no_speech() -> None:
    _, answer, heard, words = targets(Speech("", np.zeros(0, np.float32), []), positions=50)
    assert answer.tolist() == [rows()[english().no_speech], rows()[english().eot]]
    assert not heard.any()
    assert not words.any()


def test_a_training_forward_equals_whispers_own(model: Whisper) -> None:
    mel, read = torch.randn(2, 80, 3000), torch.randint(0, 100, (2, 7))
    with torch.no_grad():
        features = training.encode(model, mel, offset=0)
        logits, listens = training.decode(model, read, features)
        assert torch.allclose(features, model.encoder(mel), atol=1e-4)
        assert torch.allclose(logits, model.decoder(read, features), atol=1e-3)
    assert listens.shape == (training.DECODER_LAYERS, 2, 7, 1500)


def test_the_encoders_heads_start_out_listening_nearby(model: Whisper) -> None:
    quiet = model.encoder.positional_embedding[300:600][None]
    for block, reach in zip(model.encoder.blocks, training.REACH, strict=True):
        normed = block.attn_ln(quiet)
        middle = training.attend(block.attn, normed, normed)[1][0, :, 150].argmax(-1) - 150
        assert middle.tolist() == [-reach, 0, reach]


def test_a_checkpoint_is_a_small_file_with_the_full_vocabulary(model: Whisper, tmp_path: Path) -> None:
    path = tmp_path / "whisper.pt"
    training.export(model, path)
    assert path.stat().st_size < 16_000_000
    loaded = whisper.load_model(str(path), device="cpu")
    assert loaded.dims.n_vocab == training.ENGLISH_ONLY
    assert not loaded.is_multilingual
    embedding = loaded.decoder.token_embedding.weight
    known = list(rows())
    assert torch.allclose(embedding[known], model.decoder.token_embedding.weight[:-1], atol=1e-3)
    others = torch.ones(training.ENGLISH_ONLY, dtype=torch.bool)
    others[known] = False
    assert (embedding[others] == embedding[others][0]).all()


def test_a_step_learns_from_every_loss(model: Whisper) -> None:
    bank = Bank(seed=0)
    bank.refresh(6)
    batch = make_batch(bank, 2, (3.0, 4.0), pick=np.random.default_rng(0))
    heads = training.Heads()
    each = training.losses(model, heads, batch, 0, training.PHASES[0])
    sum(vars(each).values()).backward()
    for parameter in (model.encoder.conv1.weight, heads.letters.weight, heads.words.weight):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_held_out_utterances_are_five_to_twenty_seconds_and_speak_known_words() -> None:
    for text, waveform in held_out(4):
        assert 4 < len(waveform) / SAMPLE_RATE < 20
        assert {word.strip(",.?").lower() for word in text.split()} <= set(word_classes())
    assert POSITIONS_PER_SECOND * 30 == training.POSITIONS
