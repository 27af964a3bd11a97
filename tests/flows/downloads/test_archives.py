"""Archives have names, servers and sums."""

import pytest

from flows.downloads.archives import KNOWN, find
from warehouse.errors import Mistake


def test_a_name_has_a_url_and_a_published_sum() -> None:
    archive = find("librilight-large")
    assert archive.url.endswith("/librilight/data/large.tar")
    assert (archive.md5, archive.verified_by) == ("4dfbac018f50b99797ece101fc9f0c30", "published-md5")
    assert (archive.file_name, archive.compression) == ("large.tar", "")
    assert find("librispeech-test-clean").compression == "gz"
    assert len({known.file_name for known in KNOWN.values()}) == len(KNOWN)


def test_a_mirror_serves_the_same_path_names() -> None:
    mirror = find("librispeech-dev-clean", mirror="https://mirror.example/audio/")
    assert mirror.url == "https://mirror.example/audio/resources/12/dev-clean.tar.gz"
    assert (mirror.name, mirror.md5) == ("librispeech-dev-clean", find("librispeech-dev-clean").md5)


def test_a_url_is_an_archive_too() -> None:
    one, other = find("http://a.example/x.tgz", md5="A" * 32), find("http://b.example/x.tgz")
    assert (one.md5, one.verified_by, one.compression) == ("a" * 32, "given-md5", "gz")
    assert (other.md5, other.verified_by) == (None, "self-hashed")
    assert one.file_name != other.file_name, "two servers may have files of one name"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"word": "librilight-smal"}, "did you mean 'librilight-small'"),
        ({"word": "gigaspeech"}, "there are librilight-small"),
        ({"word": "ftp://a.example/x.tar"}, "speaks http or https"),
        ({"word": "http:///x.tar"}, "speaks http or https"),
        ({"word": "http://[x/x.tar"}, "speaks http or https"),
        ({"word": "http://a.example/x.zip"}, "is not the URL of a tar"),
        ({"word": "http://a.example/x.tar", "md5": "12"}, "32 hex digits"),
        ({"word": "http://a.example/x.tar", "mirror": "http://b.example"}, "--mirror is for an archive with a name"),
        ({"word": "librilight-small", "mirror": "b.example"}, "speaks http or https"),
        ({"word": "librilight-small", "md5": "0" * 32}, "is published"),
    ],
)
def test_a_wrong_word_is_named(words: dict[str, str], says: str) -> None:
    with pytest.raises(Mistake, match=says):
        find(**words)
