"""Small halves, and speech for them, that the tests of the model share."""

import numpy as np
import torch

from model.valle.ar import AR
from model.valle.batch import Example
from model.valle.decoding import Request
from model.valle.nar import NAR, Task
from model.valle.settings import Settings, Size
from model.valle.synthesis import Pair

SYMBOLS = tuple("abcdefgh")
SIZE = Size(num_layers=2, num_heads=2, width=32, ffn_width=64, dropout=0.0)


def half(name, seed=0, **options):
    """A small half in double precision, with norms that are not trivial."""
    torch.manual_seed(seed)
    model = (AR if name == "ar" else NAR)(Settings(name, SIZE, SYMBOLS, "a codec", **options)).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def speech(num_rows=2, num_phones=6, num_frames=9, seed=1):
    """Phones `[B, P]`, their lengths, codes `[B, 8, T]`, their lengths; the first row is whole, the others shorter."""
    generator = torch.Generator().manual_seed(seed)
    phones = torch.randint(len(SYMBOLS), (num_rows, num_phones), generator=generator)
    codes = torch.randint(1024, (num_rows, 8, num_frames), generator=generator)
    shorter = torch.arange(num_rows)
    return phones, num_phones - shorter, codes, num_frames - 2 * shorter


def task(stage, num_rows=2, start=2, length=3):
    """The same task for every row."""
    return Task(*(torch.full((num_rows,), value) for value in (stage, start, length)))


def changes(before, after):
    """Which frames of row 0 have other logits."""
    return (before[0] - after[0]).abs().amax(dim=-1) > 1e-9


def random_speech(seed, num_phones=5, num_frames=24):
    """An utterance that nobody has said."""
    draw = np.random.default_rng(seed)
    phones = draw.integers(0, len(SYMBOLS), num_phones).astype(np.uint16)
    return Example(phones, draw.integers(0, 1024, (8, num_frames)).astype(np.uint16))


def random_pair(eos_bias=0.0, seed=0, size=SIZE, **options):
    """Two halves that know nothing; `eos_bias` is the AR's logit of `<EOS>` at every frame."""
    torch.manual_seed(seed)
    first, second = AR(Settings("ar", size, SYMBOLS, "", **options)), NAR(Settings("nar", size, SYMBOLS, "", **options))
    first.transformer.norm.norm.weight.data[0], first.transformer.norm.norm.bias.data[0] = 0.0, 1.0
    first.code_embedding.weight.data[1024] = 0.0
    first.code_embedding.weight.data[1024, 0] = eos_bias
    if first.group_out is not None:  # what the first place of each code of a group is has to come through it
        places = torch.arange(first.settings.group) * size.width
        first.group_out.weight.data[places], first.group_out.bias.data[places] = 0.0, 1.0
    return Pair(first.eval(), second.eval())


def requests(count=5, language=None):
    """Texts, prompts and limits of many lengths; the first has no prompt."""
    found = []
    for number in range(count):
        said = random_speech(number, num_phones=3 + number % 3, num_frames=4 * number)
        limit = max(40 - 3 * number, 10)
        found.append(Request(said.phones, said.codes, seed=number, max_frames=limit, language=language))
    return found
