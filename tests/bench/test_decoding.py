"""The benchmark of decoding, at a size where it takes a second."""

import json

import pytest
import torch

from bench import decoding
from bench.decoding import Load
from model.valle.settings import Size

TINY = Size(num_layers=1, num_heads=2, width=16, ffn_width=16, dropout=0.0)
LOAD = Load(
    sizes=((TINY, 40),),
    middle=TINY,
    prompt_frames=25,
    new_frames=40,
    num_phones=6,
    rows=3,
    device_rows=(1, 2),
    device_size=TINY,
    times=1,
)


def test_all_figures_are_there_and_belong_together(capsys):
    decoding.main(["--threads", "1"], LOAD)
    found = json.loads(capsys.readouterr().out)
    [cached] = found["cache"].values()
    assert cached["times faster"] == pytest.approx(cached["anew seconds"] / cached["cached seconds"], rel=0.02)
    middle = found["6 layers of 512"]
    for precision in ("float32", "bfloat16", "int8"):
        assert middle[precision]["AR frames per second"] > middle[precision]["AR and NAR frames per second"] > 0
    assert middle["first sound"]["of the AR"] > 0
    assert middle["float32, AR, 3 rows"]["times faster than one by one"] > 0


def test_computing_anew_computes_as_often_as_it_says():
    pair, [request] = decoding.endless_pair(TINY, "cpu"), decoding.requests(1, 20, LOAD)
    with torch.inference_mode():
        assert decoding.compute_anew(pair.ar, request, every=1) == 20
        assert decoding.compute_anew(pair.ar, request, every=6) == 4


def test_an_accelerator_s_part_works_on_a_cpu_too():
    with torch.inference_mode():
        found = decoding.accelerator(LOAD, "cpu")
    assert set(found) == {"1 rows", "2 rows", "first sound"}
    assert found["2 rows"]["seconds per second of speech"] > 0
