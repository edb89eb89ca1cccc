"""Contents: what a file is by its first bytes, whatever its name says."""

import zipfile
from pathlib import Path

PICKLE = "a pickle of Python"
TORCH = "a file of torch.save"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "text in UTF-32; write it as UTF-8"),
    (b"\x00\x00\xfe\xff", "text in UTF-32; write it as UTF-8"),
    (b"\xff\xfe", "text in UTF-16; write it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16; write it as UTF-8"),
    (b"version https://git-lfs", "a pointer of git-lfs; fetch the file itself with `git lfs pull`"),
    (b"\x1f\x8b", "compressed by gzip; unpack it"),
    (b"BZh", "compressed by bzip2; unpack it"),
    (b"\xfd7zXZ\x00", "compressed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a rar archive; unpack it"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"ORC", "an ORC file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
)


def foreign(file: Path) -> str | None:
    """What a file is that is neither JSON lines nor of torch.save, and what to do with it.

    Args:
        file: any file.

    Returns:
        Words that follow "is", as in `a Parquet file`; None where the content is not recognised,
        or cannot be read.
    """
    try:
        with file.open("rb") as content:
            head = content.read(512)
    except OSError:
        return None
    if not head:
        return "empty; write or fetch it again"
    if head.startswith(b"PK"):
        return _zip(file)
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 2**32:
        return "a file of safetensors"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "a page of HTML or XML, perhaps in place of a download that failed; fetch it again"
    if len(head) > 1 and b"\x00" in head[:2]:
        return "text in UTF-16; write it as UTF-8"
    return None


def _zip(file: Path) -> str:
    """What a file is that begins as a zip archive does."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "damaged: a zip archive that is cut short; fetch it again"
    inner = {name.partition("/")[2] for name in names}
    if "xl/workbook.xml" in names:
        return "a workbook of Excel; save it as text"
    if "[Content_Types].xml" in names:
        return "an Office document; save it as text"
    if "constants.pkl" in inner and "data.pkl" in inner:
        return "a model of TorchScript"
    if "data.pkl" in inner:
        return TORCH
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of NumPy"
    return "a zip archive; unpack it"
