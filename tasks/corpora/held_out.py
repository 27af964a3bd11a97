"""Speakers whom no model here may hear in training: the readers of LibriSpeech's dev and test sets.

The speakers of LibriLight are ids of LibriVox readers too, the same ones, so whoever cuts
a corpus of LibriVox by a hash of speakers trains on the very voices that the paper's evaluation calls unseen.
The archives of LibriLight leave these readers out; a corpus put together otherwise may hold them.

Only whole ids count: `1089` is a reader, `libri-1089` and `01089` are nobody known; and only in corpora of LibriVox,
for a folder of somebody's own may have any name.

Source: SPEAKERS.TXT of LibriSpeech, Panayotov et al. 2015, openslr.org/12: 146 of its 2,484 readers.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

from warehouse.errors import Mistake

Split = Literal["train", "dev", "test"]

NAMES = ("librispeech", "none")
LIBRIVOX = ("librilight", "librispeech")  # corpora, as `recordings` names them

LIBRISPEECH: Mapping[str, str] = MappingProxyType(
    {
        "dev-clean": "84 174 251 422 652 777 1272 1462 1673 1919 1988 1993 2035 2078 2086 2277 2412 2428 2803 2902 "
        "3000 3081 3170 3536 3576 3752 3853 5338 5536 5694 5895 6241 6295 6313 6319 6345 7850 7976 8297 8842",
        "dev-other": "116 700 1255 1585 1630 1650 1651 1686 1701 2506 3660 3663 3915 4153 4323 4515 4570 4572 4831 "
        "5543 5849 6123 6267 6455 6467 6599 6841 7601 7641 7697 8173 8254 8288",
        "test-clean": "61 121 237 260 672 908 1089 1188 1221 1284 1320 1580 1995 2094 2300 2830 2961 3570 3575 3729 "
        "4077 4446 4507 4970 4992 5105 5142 5639 5683 6829 6930 7021 7127 7176 7729 8224 8230 8455 8463 8555",
        "test-other": "367 533 1688 1998 2033 2414 2609 3005 3080 3331 3528 3538 3764 3997 4198 4294 4350 4852 5442 "
        "5484 5764 6070 6128 6432 6938 7018 7105 7902 7975 8131 8188 8280 8461",
    }
)
"""The readers of each subset: 40, 33, 40 and 33 of them."""


@cache
def held_out(name: str) -> Mapping[str, Split]:
    """The split that each of these speakers has, whatever a hash would say: `dev` or `test`, by speaker id.

    Args:
        name: one of NAMES; `none` holds nobody out.

    Raises:
        Mistake: there is no such list.
    """
    if name not in NAMES:
        raise Mistake(f"utterances.hold_out is {name!r}; it may be {' or '.join(NAMES)}")
    if name == "none":
        return {}
    readers: dict[str, Split] = {
        speaker: "dev" if subset.startswith("dev") else "test"
        for subset, speakers in LIBRISPEECH.items()
        for speaker in speakers.split()
    }
    return MappingProxyType(readers)
