"""The benchmark of training says all its figures, at a size of next to nothing."""

import json

from bench import training


def test_the_figures_of_a_tiny_training_are_all_there(capsys):
    words = "--size tiny --batch 2 --frames 20 --phones 5 --steps 1 --utterances 8 --precision fp32"
    training.main(words.split())
    figures = json.loads(capsys.readouterr().out)
    for half in ("ar", "nar"):
        for how in ("ours", "plain"):
            found = figures[f"{half} fp32"][how]
            assert all(found[name] > 0 for name in ("frames/s", "frames per core second", "MFU"))
            assert list(found["seconds"]) == ["loader", "forward", "backward", "all-reduce", "optimizer"]
        assert figures[f"{half} loader"]["times as fast as training"] > 0  # how much: `python -m bench training`
        assert 0 <= figures[f"{half} loader"]["padding"] < 1
    assert figures["device GFLOP/s"]["fp32"] > 0
