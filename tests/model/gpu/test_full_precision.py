"""fp32 is fp32, whoever has said otherwise before; every model that is loaded sees to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model.gpu.full_precision import keep_fp32

LOOSE = {"matmul": "tf32", "conv": "tf32", "rnn": "tf32"}
FULL = {"matmul": "ieee", "conv": "ieee", "rnn": "ieee"}


def said() -> dict[str, str]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return {"matmul": cuda.matmul.fp32_precision} | {
        part: getattr(cudnn, part).fp32_precision for part in ("conv", "rnn")
    }


def the_older_way() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")


def the_newer_way() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]
    for part in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):  # type: ignore[attr-defined]
        part.fp32_precision = "tf32"


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = "none"  # type: ignore[attr-defined]
    keep_fp32()


@pytest.mark.parametrize("loosen", [the_older_way, the_newer_way])
def test_nothing_is_rounded_whichever_way_it_was_allowed(loosen: Callable[[], None]) -> None:
    loosen()
    assert said() == LOOSE
    keep_fp32()
    assert said() == FULL
    assert not torch.backends.cudnn.allow_tf32, "who asks the older way gets an answer, too"
    assert torch.get_float32_matmul_precision() == "highest"


def a_codec() -> Any:
    from model.codec.encodec import load_codec

    return load_codec("embedded")


def a_whisper() -> Any:
    from model.asr.recognition import load_asr

    return load_asr("embedded")


def a_voice_encoder() -> Any:
    from model.speaker.verification import VoiceEncoder

    return VoiceEncoder()


def a_half() -> Any:
    import model
    from model.valle.checkpoint import load

    return load(Path(model.__path__[0]) / "embedded" / "valle" / "nar")


@pytest.mark.parametrize("load", [a_codec, a_whisper, a_voice_encoder, a_half])
def test_what_is_loaded_computes_in_full_precision(load: Callable[[], Any]) -> None:
    the_newer_way()
    load()
    assert said() == FULL
