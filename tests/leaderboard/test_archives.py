"""Archives: good ones are checked as their folder is, and bad ones write nothing outside."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dojobench.leaderboard.archive import opened
from dojobench.leaderboard.check import check
from dojobench.leaderboard.verdict import Refused

Make = Callable[..., Any]


def unpack(path: Path) -> None:
    with opened(path):
        pass


def zip_of(folder: Path, out: Path) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    return out


def tar_of(out: Path, members: list[tarfile.TarInfo], data: bytes = b"x") -> Path:
    with tarfile.open(out, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return out


def member(name: str, *, kind: bytes = tarfile.REGTYPE, to: str = "", size: int = 1) -> Any:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, to
    found.size = size if kind == tarfile.REGTYPE else 0
    return found


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_an_archive_gets_the_verdict_of_its_folder(
    honest: Path, tmp_path: Path, verdict_of: Make, ending: str
) -> None:
    out = tmp_path / f"sent{ending}"
    if ending == ".zip":
        zip_of(honest, out)
    else:
        with tarfile.open(out, "w:gz" if ending == ".tar.gz" else "w") as archive:
            archive.add(honest, honest.name)
    found = verdict_of(out)
    assert found.outcome == "accepted", found.findings
    assert found == verdict_of(honest)


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("/etc/outside"),
        member("a/../../outside"),
        member("a\\b"),
        member("link", kind=tarfile.SYMTYPE, to="/etc/passwd"),
        member("hard", kind=tarfile.LNKTYPE, to="a/card.toml"),
        member("pipe", kind=tarfile.FIFOTYPE),
        member("device", kind=tarfile.CHRTYPE),
        member("a/.hidden"),
    ],
    ids=lambda m: f"{m.name} {m.type!r}",
)
def test_unsafe_tars_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Refused) as error:
        unpack(tar_of(inside / "bad.tar", [member("a/card.toml"), bad]))
    assert error.value.code == "DB-S015"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["bad.tar", "inside"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "C:\\outside"])
def test_unsafe_zips_are_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "bad.zip"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"x")
    verdict = check(out)
    assert [each.code for each in verdict.findings] == ["DB-S015"]
    assert [each.name for each in tmp_path.rglob("*")] == ["bad.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert [each.code for each in check(tmp_path / "bad.zip").findings] == ["DB-S015"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    out = tmp_path / "bomb.zip"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/submission.json", bytes(30 << 20))
    assert out.stat().st_size < 100_000
    assert [each.code for each in check(out).findings] == ["DB-S015"]


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    members = [member(f"a/f{k}") for k in range(2100)]
    assert [f.code for f in check(tar_of(tmp_path / "many.tar", members)).findings] == ["DB-S005"]


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".txt"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"nonsense" * 200])
def test_what_is_no_archive_is_refused(tmp_path: Path, ending: str, data: bytes) -> None:
    out = tmp_path / f"sent{ending}"
    out.write_bytes(data)
    assert {each.code for each in check(out).findings} <= {"DB-S001", "DB-S015"}
    assert not check(out).accepted


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    out = tar_of(tmp_path / "twice.tar", [member("a/card.toml"), member("a/card.toml")])
    assert [each.code for each in check(out).findings] == ["DB-S015"]


def test_the_folder_must_be_in_the_archive(honest: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.write(honest / "submission.json", "submission.json")
    assert [each.code for each in check(tmp_path / "flat.zip").findings] == ["DB-S015"]
