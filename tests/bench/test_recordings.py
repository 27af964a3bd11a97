"""The benchmark of recordings works, at a size that says nothing."""

from bench import recordings


def test_every_figure_is_measured(tmp_path):
    recordings.speak(tmp_path, 2, 2, 1.0)
    figures = (
        recordings.listing(num_files=40, num_speakers=5)
        | recordings.describing(tmp_path, rounds=1)
        | recordings.memory(num_shards=1, num_seconds=1.0)
    )
    assert len(figures) == 11
    assert min(figures.values()) > 0


def test_as_many_files_are_fabricated_as_are_asked_for(tmp_path):
    recordings.fabricate(tmp_path, 41, 7)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 40
