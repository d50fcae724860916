from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from nbcontainers.errors import IntegrityError, NotFound
from nbcontainers.oci.descriptor import Descriptor, Digest
from nbcontainers.store.content import Content
from nbcontainers.store.durable import Stream
from nbcontainers.store.store import Store

KIND = "application/octet-stream"


def scratch(store: Store) -> list[str]:
    return os.listdir(store.root / "ingest")


def test_what_is_written_is_read_back(store: Store) -> None:
    """A blob is described by the digest and size of its bytes, and reads as it was written."""
    descriptor = store.content.write(b"hello", KIND)
    assert descriptor == Descriptor(media_type=KIND, digest=Digest.of(b"hello"), size=5)
    assert store.content.read(descriptor.digest) == b"hello"
    with store.content.open(descriptor.digest) as blob:
        assert blob.read() == b"hello"
    assert store.content.size(descriptor.digest) == 5
    assert list(store.content) == [descriptor.digest]


def test_writing_twice_is_writing_once(store: Store) -> None:
    """The same bytes are the same blob: the file is not written again."""
    path = store.content.path(store.content.write(b"once", KIND).digest)
    before = path.stat()
    store.content.write(b"once", KIND)
    assert path.stat().st_ino == before.st_ino
    assert scratch(store) == []


def test_a_blob_comes_in_pieces(store: Store) -> None:
    """An ingest hashes what passes, in whatever pieces and buffers, and is verified against what was announced."""
    with store.content.ingest() as ingest:
        for piece in (b"a" * 1000, bytearray(b"b"), memoryview(b"c" * 10)):
            assert ingest.write(piece) == len(piece)
        expected = Descriptor(media_type=KIND, digest=Digest.of(b"a" * 1000 + b"b" + b"c" * 10), size=1011)
        assert ingest.commit(KIND, expected) == expected
    assert store.content.has(expected.digest)


def test_the_disk_may_begin_before_a_blob_ends(store: Store) -> None:
    """A large blob is the bytes that were written, whether or not its file can be brought to a disk meanwhile."""
    pieces = [bytes([number]) * (3 << 20) for number in range(7)]
    with store.content.ingest() as ingest:
        for piece in pieces:
            ingest.write(piece)
        assert ingest.size == 21 << 20
        assert store.content.path(ingest.commit(KIND).digest).read_bytes() == b"".join(pieces)
    ours, theirs = os.pipe()  # sync_file_range(2) refuses it, as a sandbox may refuse the call
    read: list[bytes] = []
    with open(ours, "rb") as reader:
        thread = threading.Thread(target=lambda: read.append(reader.read()))
        thread.start()
        with open(theirs, "wb", buffering=0) as writer:
            stream = Stream(writer.fileno())
            for piece in pieces:
                stream.write(piece)
        thread.join()
    assert read == [b"".join(pieces)]
    assert stream.size == 21 << 20


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_both_registered_algorithms_name_blobs(store: Store, algorithm: str) -> None:
    """A blob may be named by sha256 or sha512."""
    with store.content.ingest(algorithm=algorithm) as ingest:
        ingest.write(b"data")
        descriptor = ingest.commit(KIND)
    assert descriptor.digest == f"{algorithm}:{hashlib.new(algorithm, b'data').hexdigest()}"
    assert store.content.read(descriptor.digest) == b"data"
    assert list(store.content) == [descriptor.digest]


@pytest.mark.parametrize(
    ("size", "digest", "expected", "actual"),
    [
        (6, Digest.of(b"right"), "6", "5"),
        (5, Digest.of(b"other"), Digest.of(b"other"), Digest.of(b"right")),
    ],
    ids=["size", "digest"],
)
def test_other_bytes_than_announced_are_refused(
    store: Store, size: int, digest: Digest, expected: str, actual: str
) -> None:
    """A blob whose digest or size is not as announced leaves nothing, and the error names both."""
    with store.content.ingest() as ingest:
        ingest.write(b"right")
        with pytest.raises(IntegrityError) as caught:
            ingest.commit(KIND, Descriptor(media_type=KIND, digest=digest, size=size))
    assert (caught.value.expected, caught.value.actual) == (expected, actual)
    assert caught.value.hint
    assert (list(store.content), scratch(store)) == ([], [])


def test_a_limit_ends_a_blob_that_never_ends(store: Store) -> None:
    """More bytes than the limit are refused while they come, before they fill the disk."""
    with store.content.ingest(limit=10) as ingest:
        ingest.write(b"12345")
        with pytest.raises(IntegrityError, match="more than 10 bytes"):
            ingest.write(b"678901")
    assert (list(store.content), scratch(store)) == ([], [])


def test_what_is_not_committed_leaves_nothing(store: Store) -> None:
    """An error or an interrupt inside an ingest leaves no file."""

    def interrupted() -> None:
        with store.content.ingest() as ingest:
            ingest.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (list(store.content), scratch(store)) == ([], [])


def test_a_killed_ingest_is_swept_and_a_living_one_is_not(store: Store) -> None:
    """kill -9 in the middle of an ingest leaves a file that the next collection removes; one being written stays."""
    code = (
        "import sys, pathlib, time; from nbcontainers.store.content import Content\n"
        "with Content(pathlib.Path(sys.argv[1])).ingest() as ingest:\n"
        "    ingest.write(b'half'); print('written', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"written\n"
        store.images.collect()
        assert len(scratch(store)) == 1
        process.send_signal(signal.SIGKILL)
    store.images.collect()
    assert scratch(store) == []


def test_a_damaged_blob_is_not_read(store: Store) -> None:
    """One flipped bit is found when the blob is read, and writing or ingesting the blob again heals it."""
    descriptor = store.content.write(b"precious", KIND)
    path = store.content.path(descriptor.digest)
    path.chmod(0o600)
    path.write_bytes(b"pretious")
    with pytest.raises(IntegrityError) as caught:
        store.content.read(descriptor.digest)
    assert (caught.value.expected, caught.value.actual) == (descriptor.digest, Digest.of(b"pretious"))
    with store.content.ingest() as ingest:
        ingest.write(b"precious")
        ingest.commit(KIND)
    assert store.content.read(descriptor.digest) == b"precious"
    path.chmod(0o600)
    path.write_bytes(b"")
    store.content.write(b"precious", KIND)
    assert store.content.read(descriptor.digest) == b"precious"


def test_what_is_missing_is_not_found(store: Store) -> None:
    """Reading, opening and measuring a blob that is not there say so; deleting it is no error."""
    digest = Digest.of(b"nowhere")
    for ask in (store.content.read, store.content.open, store.content.size):
        with pytest.raises(NotFound, match=digest):
            ask(digest)
    assert not store.content.has(digest)
    store.content.delete(digest)


def test_a_document_has_an_end(store: Store) -> None:
    """A blob longer than the reader's limit is not read into memory."""
    descriptor = store.content.write(b"x" * 100, KIND)
    with pytest.raises(IntegrityError, match="longer than 99 bytes"):
        store.content.read(descriptor.digest, limit=99)
    assert len(store.content.read(descriptor.digest, limit=100)) == 100


def test_a_file_that_its_writer_hashed_is_adopted(store: Store) -> None:
    """A file of ROOT/ingest becomes the blob that its descriptor says; of another size it is refused and removed."""
    path = store.root / "ingest" / "made-elsewhere"
    layer = Descriptor(media_type=KIND, digest=Digest.of(b"layer"), size=5)
    path.write_bytes(b"layer")
    store.content.adopt(path, layer, os.open(path, os.O_RDONLY))
    assert store.content.read(Digest.of(b"layer")) == b"layer"
    path.write_bytes(b"lay")
    with pytest.raises(IntegrityError):
        store.content.adopt(path, layer, os.open(path, os.O_RDONLY))
    assert scratch(store) == []
    version = store.root / "version"
    with pytest.raises(ValueError, match="is not in"):
        store.content.adopt(version, layer, os.open(version, os.O_RDONLY))


def test_files_that_are_no_blobs_are_let_be(store: Store) -> None:
    """A stray file among the blobs is none of them."""
    (store.root / "blobs" / "sha256" / "README").write_text("hello")
    assert list(store.content) == []


def test_threads_write_the_same_blob_at_once(store: Store) -> None:
    """Eight threads that write one blob make one blob."""
    threads = [threading.Thread(target=store.content.write, args=(b"same" * 1000, KIND)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(store.content) == [Digest.of(b"same" * 1000)]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: os.PathLike[str]) -> None:
    """On a full disk an ingest fails with a clear error, its bytes are given back, and what was there is whole."""
    code = """
import pathlib, sys
from nbcontainers.errors import HostError
from nbcontainers.oci.descriptor import Digest
from nbcontainers.linux.idmap import of_host
from nbcontainers.store.store import Store
root = pathlib.Path(sys.argv[1])
with Store(root, identity=of_host()) as store:
    kept = store.content.write(b"kept", "text/plain")
    try:
        with store.content.ingest() as ingest:
            while True:
                ingest.write(b"x" * 65536)
    except HostError as error:
        assert "no space left" in str(error) and "prune" in error.hint, error
    assert list((root / "ingest").iterdir()) == []
    assert list(store.content) == [kept.digest]
    with store.content.ingest() as ingest:
        ingest.write(b"y" * 65536)
        ingest.commit("text/plain")
print("whole")
"""
    script = f'mount -t tmpfs -o size=512k none {tmp_path} && exec "$@"'
    mounted = ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs of 512 KiB (mount in a user namespace)")
    done = subprocess.run(
        [*mounted, sys.executable, "-c", code, f"{tmp_path}/store"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "whole\n", done.stderr


def test_other_errors_of_the_disk_pass(store: Store) -> None:
    """What is not a full disk keeps its own name."""
    with pytest.raises(FileNotFoundError), Content(store.root / "nowhere").ingest():
        pass
