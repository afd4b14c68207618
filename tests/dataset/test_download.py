"""Downloading and unpacking, against a server on this machine."""

import hashlib
import io
import random
import tarfile
import threading

import pytest
from archive_server import Handler, make_tar, serving

from corruptions.errors import DataError
from dataset.readers.download import ensure_unpacked
from dataset.specs import Archive

FILES = ["one", "two"]


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = make_tar([("folder/one", b"1" * 5000), ("folder/two", b"2"), ("folder/html", b"x")])


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch, GOOD) as address:
        yield f"{address}/archive.tar.gz"


def archive(url, content=GOOD):
    digest = hashlib.sha256(content).hexdigest()
    return Archive(url, "archive.tar.gz", digest, len(content))


def test_checksum_by_another_algorithm(tmp_path):
    (tmp_path / "archive.tar.gz").write_bytes(GOOD)
    digest = hashlib.md5(GOOD, usedforsecurity=False).hexdigest()
    known = Archive("http://127.0.0.1:1/", "archive.tar.gz", digest, len(GOOD), "md5")
    ensure_unpacked(known, tmp_path / "folder", FILES, False)
    assert names(tmp_path / "folder") == FILES
    (tmp_path / "archive.tar.gz").write_bytes(GOOD + b"x")
    with pytest.raises(DataError, match=rf"\(md5 [0-9a-f]{{32}}, expected {digest}\)"):
        ensure_unpacked(known, tmp_path / "other", FILES, False)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_fetches_checks_and_unpacks_what_is_wanted(tmp_path, server):
    ensure_unpacked(archive(server), tmp_path / "data" / "folder", FILES, False)
    assert names(tmp_path / "data" / "folder") == FILES
    assert (tmp_path / "data" / "folder" / "one").read_bytes() == b"1" * 5000
    assert names(tmp_path / "data") == ["archive.tar.gz", "folder"]


def test_several_at_once_fetch_it_once(tmp_path, server):
    def fetch():
        ensure_unpacked(archive(server), tmp_path / "folder", FILES, False)

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Handler.requests == [None]
    assert names(tmp_path) == ["archive.tar.gz", "folder"]
    assert names(tmp_path / "folder") == FILES


def test_existing_folder_needs_no_network(tmp_path):
    (tmp_path / "folder").mkdir()
    ensure_unpacked(archive("http://127.0.0.1:1/"), tmp_path / "folder", FILES, False)


def test_archive_put_there_by_hand_needs_no_network(tmp_path):
    (tmp_path / "archive.tar.gz").write_bytes(GOOD)
    ensure_unpacked(archive("http://127.0.0.1:1/"), tmp_path / "folder", FILES, False)
    assert names(tmp_path / "folder") == FILES


def test_broken_off_download_goes_on(tmp_path, server, monkeypatch):
    monkeypatch.setattr(Handler, "broken_after", 40)
    with pytest.raises(DataError, match="broke off after 40 of"):
        ensure_unpacked(archive(server), tmp_path / "folder", FILES, False)
    assert names(tmp_path) == [".archive.tar.gz.partial"]
    monkeypatch.setattr(Handler, "broken_after", None)
    ensure_unpacked(archive(server), tmp_path / "folder", FILES, False)
    assert Handler.requests == [None, "bytes=40-"]
    assert names(tmp_path) == ["archive.tar.gz", "folder"]


def test_no_network_says_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as caught:
        ensure_unpacked(archive("http://127.0.0.1:1/x"), tmp_path / "folder", FILES, False)
    assert f"put archive.tar.gz, or the folder unpacked from it, into {tmp_path}" in str(
        caught.value
    )


def test_wrong_download_is_thrown_away(tmp_path, server, monkeypatch):
    monkeypatch.setattr(Handler, "content", b"x" * len(GOOD))
    with pytest.raises(DataError, match="not the official archive"):
        ensure_unpacked(archive(server), tmp_path / "folder", FILES, False)
    assert names(tmp_path) == []


def test_a_server_that_does_not_end_is_cut_short(tmp_path, server, monkeypatch):
    sizes = []
    monkeypatch.setattr(Handler, "content", bytes(50 << 20))
    monkeypatch.setattr(
        "dataset.readers.download._check", lambda path, _: sizes.append(path.stat())
    )
    with pytest.raises(DataError, match="lacks folder/one"):
        ensure_unpacked(archive(server), tmp_path / "folder", FILES, False)
    assert sizes[0].st_size <= 2 << 20


def test_wrong_checksum_is_refused(tmp_path):
    (tmp_path / "archive.tar.gz").write_bytes(GOOD + b"x")
    with pytest.raises(DataError, match="not the official archive"):
        ensure_unpacked(archive("http://127.0.0.1:1/"), tmp_path / "folder", FILES, False)
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../one", b"bad"), ("folder/two", b"2")],
        [("/folder/one", b"bad"), ("folder/two", b"2")],
        [("folder/../one", b"bad"), ("folder/two", b"2")],
        [(link("folder/one", "/etc/passwd", tarfile.SYMTYPE), b""), ("folder/two", b"2")],
        [(link("folder/one", "folder/two", tarfile.LNKTYPE), b""), ("folder/two", b"2")],
        [(link("folder/one", "", tarfile.CHRTYPE), b""), ("folder/two", b"2")],
    ],
)
def test_hostile_members_write_nothing(tmp_path, members):
    content = make_tar(members)
    target = tmp_path / "data"
    target.mkdir()
    (target / "archive.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="lacks folder/one"):
        ensure_unpacked(archive("http://127.0.0.1:1/", content), target / "folder", FILES, False)
    assert names(tmp_path) == ["data"]
    assert not (target / "folder").exists() and not (target / "one").exists()


def test_members_of_gigantic_size_are_left_out(tmp_path):
    header = tarfile.TarInfo("folder/one")
    header.size = 10**15
    content = header.tobuf() + bytes(10_240)
    (tmp_path / "archive.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"archive.tar.gz (cannot be unpacked|lacks)"):
        ensure_unpacked(archive("http://127.0.0.1:1/", content), tmp_path / "folder", FILES, False)
    assert not (tmp_path / "folder").exists()


def _with_a_broken_block():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo("folder/one")
        info.size = 1 << 20
        tar.addfile(info, io.BytesIO(random.Random(0).randbytes(info.size)))
    content = bytearray(file.getvalue())
    content[len(content) // 2 :: 7] = bytes(len(content[len(content) // 2 :: 7]))
    return bytes(content)


@pytest.mark.parametrize("content", [GOOD[:-30], _with_a_broken_block(), b"", b"\x1f\x8b\x08\x00"])
def test_broken_archive_is_named(tmp_path, content):
    (tmp_path / "archive.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"archive.tar.gz (cannot be unpacked|lacks)"):
        ensure_unpacked(archive("http://127.0.0.1:1/", content), tmp_path / "folder", FILES, False)


def test_mistyped_folder_is_not_made(tmp_path):
    """Where the download fails; a part that has arrived stays."""
    (tmp_path / "there").mkdir()
    for target in (tmp_path / "a" / "b", tmp_path / "there" / "a"):
        with pytest.raises(DataError, match="cannot download"):
            ensure_unpacked(archive("http://127.0.0.1:1/"), target / "folder", FILES, False)
    assert names(tmp_path) == ["there"] and not list((tmp_path / "there").iterdir())
