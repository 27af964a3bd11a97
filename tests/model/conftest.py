"""What the tests of the model share: a pair that has learned something, trained once."""

from dataclasses import replace

import pytest

from model.training.trainer import Training, train
from model.valle.batch import Example
from model.valle.settings import Settings, Size
from model.valle.synthesis import load_pair
from tests.model.small import SYMBOLS, random_speech


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """An AR that knows ten utterances by heart, a NAR that knows the first, the utterances, and the two trainings."""
    folder = tmp_path_factory.mktemp("learned")
    size = Size(num_layers=2, num_heads=4, width=64, ffn_width=128, dropout=0.0)
    known = [random_speech(seed, num_frames=20 + 2 * seed) for seed in range(10)]
    training = Training(steps=80, learning_rate=1e-2, warmup_steps=10, batch_frames=400, validate_every=80)
    first = [Example(example.phones, example.codes[:1]) for example in known]
    records = {
        "ar": train(Settings("ar", size, SYMBOLS, ""), training, [first], first, folder / "ar"),
        "nar": train(
            Settings("nar", size, SYMBOLS, ""),
            replace(training, batch_frames=200),
            [known[:1] * 8],
            known[:1],
            folder / "nar",
        ),
    }
    return load_pair(folder / "ar", folder / "nar"), known, records
