"""The command `valle`, under a name that no other module has: it sees to it that `flows` is ours, and goes there."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    """The entry point. A `flows.py` in PYTHONPATH would be found first, so ours is loaded from its place."""
    spec = spec_from_file_location("valle_namesakes", Path(__file__).with_name("flows") / "machine" / "namesakes.py")
    assert spec is not None
    assert spec.loader is not None
    namesakes = module_from_spec(spec)
    spec.loader.exec_module(namesakes)
    namesakes.ours_first()
    from flows.cli import main as command

    command()


if __name__ == "__main__":
    main()
