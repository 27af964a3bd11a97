"""`valle check`: a line for each finding, what to do, and an exit code."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Said
from tests.small_warehouse import make_warehouse


def test_a_sound_warehouse_ends_with_0_and_a_damaged_one_with_1_until_it_is_mended(
    tmp_path: Path, valle: Callable[..., Said]
) -> None:
    root = tmp_path / "root"
    make_warehouse(root, tmp_path / "audio")
    assert valle("check", "--root", root) == (0, "", f"{root} is sound\n")
    [path] = (root / "codes").glob("*/a.parquet")
    path.write_bytes(path.read_bytes()[::-1])
    code, out, err = valle("check", "--root", root)
    assert (code, len(out.splitlines()), err) == (1, 1, "1 finding\n")
    assert out.startswith(f"damaged: {path.relative_to(root)}: its bytes are not those that were written")
    assert "`valle check --mend` sets it aside, and the next `valle run` makes it again" in out
    code, out, _ = valle("check", "--root", root, "--json")
    [finding] = json.loads(out)
    assert (code, finding["kind"], finding["path"]) == (1, "damaged", str(path.relative_to(root)))
    assert valle("check", "--quick", "--root", root)[0] == 0, "it is as long as it was"
    code, out, err = valle("check", "--mend", "--root", root)
    assert (code, out.endswith("; mended\n")) == (0, True)
    assert f"1 of 1 findings mended; what was set aside lies in {root / 'set-aside'}" in err
    assert valle("check", "--root", root)[0] == 0


def test_a_folder_that_is_no_warehouse_is_one_sentence(tmp_path: Path, valle: Callable[..., Said]) -> None:
    code, out, err = valle("check", "--root", tmp_path)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "is not a warehouse" in err
