"""SI-SDR by hand, and a share that is always the same utterances."""

import numpy as np
import pytest

from tasks.audio.fidelity import is_checked, si_sdr_db


def waveform(*samples: float) -> np.ndarray:
    return np.array(samples, np.float32)


def test_si_sdr_worked_by_hand() -> None:
    # a = <(2, 1), (1, 0)> / 1 = 2; what is left is (0, 1); 10 log10(4 / 1)
    assert si_sdr_db(waveform(2, 1), waveform(1, 0)) == pytest.approx(6.0206, abs=1e-4)
    # a = (1 + 3) / 2 = 2; the target is (2, 2), what is left is (1, -1); 10 log10(8 / 2)
    assert si_sdr_db(waveform(1, 3), waveform(1, 1)) == pytest.approx(6.0206, abs=1e-4)


def test_loudness_and_sign_change_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4_000).astype(np.float32)
    heard = truth + 0.1 * rng.normal(size=4_000).astype(np.float32)
    assert si_sdr_db(heard, truth) == pytest.approx(20, abs=0.5)
    for gain in (0.01, 30, -1):
        assert si_sdr_db(np.float32(gain) * heard, truth) == pytest.approx(si_sdr_db(heard, truth), abs=1e-3)


def test_silence_and_perfection_have_no_ratio() -> None:
    sound, silence = waveform(1, 2, 3), waveform(0, 0, 0)
    assert si_sdr_db(sound, silence) is None
    assert si_sdr_db(silence, sound) is None
    assert si_sdr_db(sound, sound) is None


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 samples cannot be compared with 3"):
        si_sdr_db(waveform(1, 2), waveform(1, 2, 3))


def test_a_larger_share_asks_the_same_utterances_and_more() -> None:
    ids = [f"small/1/book/chapter#{i}-{i + 1}" for i in range(4_000)]
    asked = [{id_ for id_ in ids if is_checked(id_, share)} for share in (0.0, 0.01, 0.1, 1.0)]
    assert asked[0] < asked[1] < asked[2] < asked[3] == set(ids)
    assert not asked[0]
    assert len(asked[1]) == pytest.approx(40, abs=20)
    assert len(asked[2]) == pytest.approx(400, abs=60)
