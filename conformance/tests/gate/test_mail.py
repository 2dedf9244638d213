# SPDX-License-Identifier: GPL-2.0-only
"""What the gate reads of mails and folders: what `git am` reads, in the right order and whole."""

import base64
import bz2
import codecs
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.gate.input import commit as gate_commit
from conformance.gate.input import series as gate_series
from conformance.gate.input.commit import DoesNotApply
from conformance.gate.input.mail import split
from conformance.gate.input.series import Series
from kpatch.errors import SeriesError, SourceTreeError
from kpatch.tools.git import Identity, Repository

DIFF = "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-one\n+two\n"
WHO = Identity("Ada", "ada@example.org")


def mail(subject: str, body: str = f"Why.\n\n---\n{DIFF}", headers: str = "") -> str:
    date = "Mon, 1 Jan 2024 00:00:00 +0000"
    return f"From: A <a@example.org>\nDate: {date}\nSubject: {subject}\n{headers}\n{body}"


def mailbox(*mails: str) -> str:
    return "".join(f"From mboxrd@z Thu Jan  1 00:00:00 1970\n{one}\n" for one in mails)


def read(tmp_path: Path, what: Path | str) -> Series:
    return gate_series.read(str(what), tmp_path, tmp_path / "scratch", WHO)


def read_mailbox(tmp_path: Path, *mails: str) -> list[str]:
    path = tmp_path / "all.mbox"
    path.write_text(mailbox(*mails))
    return [patch.subject for patch in read(tmp_path, path).patches]


def read_folder(tmp_path: Path, files: dict[str, str]) -> list[str]:
    folder = tmp_path / "patches"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return [patch.subject for patch in read(tmp_path, folder).patches]


PACKED: list[tuple[Callable[[bytes], bytes], str]] = [
    (gzip.compress, "compressed by gzip: unpack it with gunzip"),
    (lzma.compress, "compressed by xz"),
    (bz2.compress, "compressed by bzip2"),
    (lambda data: data.decode().encode("utf-16"), "UTF-16, as redirecting"),
    (lambda data: codecs.BOM_UTF8 + data, "its first three bytes"),
]


@pytest.mark.parametrize(("pack", "words"), PACKED)
def test_file_that_is_a_mailbox_only_inside(
    tmp_path: Path, pack: Callable[[bytes], bytes], words: str
) -> None:
    """Archives offer mailboxes compressed, and some programs write them in other forms."""
    path = tmp_path / "t.mbox"
    path.write_bytes(pack(mailbox(mail("[PATCH] vfio: A")).encode()))
    with pytest.raises(SeriesError, match=words):
        read(tmp_path, path)


SIGNATURE = """\
--s
Content-Type: application/pgp-signature; name="signature.asc"

-----BEGIN PGP SIGNATURE-----
iHUEABYIAB0WIQ
-----END PGP SIGNATURE-----
--s--
"""


def signed(subject: str) -> str:
    part = f"--s\nContent-Type: text/plain; charset=us-ascii\n\nWhy.\n\n---\n{DIFF}\n{SIGNATURE}"
    kind = 'Content-Type: multipart/signed; micalg=pgp-sha512; boundary="s"; '
    return mail(subject, part, f'MIME-Version: 1.0\n{kind}protocol="application/pgp-signature"\n')


def attached(subject: str) -> str:
    text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=s\n"
    part = (
        "--s\nContent-Type: text/plain\n\nWhy.\n\n--s\nContent-Type: text/x-patch; name=a.patch\n"
    )
    part += "Content-Transfer-Encoding: base64\nContent-Disposition: attachment\n\n"
    return mail(subject, f"{part}{base64.b64encode(DIFF.encode()).decode()}\n--s--\n", text)


def test_signed_and_attached(tmp_path: Path) -> None:
    mails = [signed("[PATCH 1/3] vfio: A"), mail("[PATCH 2/3] vfio: B")]
    mails.append(attached("[PATCH 3/3] vfio: C"))
    assert read_mailbox(tmp_path, *mails) == [
        "[PATCH 1/3] vfio: A", "[PATCH 2/3] vfio: B", "[PATCH 3/3] vfio: C"
    ]  # fmt: skip


def test_signed_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_text(signed("[PATCH] vfio: A"))
    (one,) = read(tmp_path, path).patches
    assert (one.has_diff, one.paths) == (True, ("a.c",))


def test_order_of_the_numbers(tmp_path: Path) -> None:
    mails = mail("[PATCH v3 2/2] vfio: B"), mail("[PATCH v3 1/2] vfio: A")
    assert read_mailbox(tmp_path, *mails) == ["[PATCH v3 1/2] vfio: A", "[PATCH v3 2/2] vfio: B"]


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        (["[PATCH 2/3] vfio: B"], "1/3 is missing"),
        (["[PATCH 1/3] vfio: A", "[PATCH 3/3] vfio: C"], "2/3 is missing"),
        (["[PATCH] vfio: A", "[PATCH v2] vfio: A"], r"2 versions of a series \(v1, v2\)"),
        (["[PATCH 1/1] vfio: A", "[PATCHv3 1/1] vfio: A"], r"\(v1, v3\)"),
        (["[PATCH 1/2] vfio: A", "[PATCH 1/2] vfio: A"], "1/2 is in .* twice"),
        (["[PATCH 1/2] vfio: A", "[PATCH 2/3] vfio: B"], "one of 2 and one of 3"),
        (["[PATCH 1/1] vfio: A", "[PATCH] vfio: B"], "has no place in the series"),
        (["[PATCH 7/3] vfio: A"], "7/3, which cannot be"),
        (["[PATCH 1/99999] vfio: A"], "2/99999 is missing"),
        (["Re: [PATCH] vfio: A"], "diffs are in replies"),
        (["AW: [PATCH 0/1] vfio: A", "Fwd: vfio"], "diffs are in replies"),
    ],
)
def test_refused(tmp_path: Path, subjects: list[str], words: str) -> None:
    with pytest.raises(SeriesError, match=words):
        read_mailbox(tmp_path, *map(mail, subjects))


def test_no_diff(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="only a cover letter"):
        read_mailbox(tmp_path, mail("[PATCH 0/2] vfio: A", "Text.\n"))
    (tmp_path / "empty").write_text("")
    with pytest.raises(SeriesError, match="is not a mailbox with patches"):
        gate_series.read(str(tmp_path / "empty"), tmp_path, tmp_path / "other", WHO)


def test_cover_letter_and_reply_with_diffs(tmp_path: Path) -> None:
    path = tmp_path / "all.mbox"
    mails = mail("[PATCH 0/1] vfio: Cover"), mail("[PATCH 1/1] vfio: A"), mail("Re: [PATCH 1/1] A")
    path.write_text(mailbox(*mails))
    series = read(tmp_path, path)
    assert [patch.subject for patch in series.patches] == ["[PATCH 1/1] vfio: A"]
    assert [line.split(": ", 1)[1] for line in series.left_out] == [
        "not judged: a reply",
        "the diff in the cover letter is not judged",
    ]


def test_domain_in_a_name(tmp_path: Path) -> None:
    names = {
        "0001-vfio-pci-Add-a.patch": mail("[PATCH 1/2] vfio/pci: Add a"),
        "0002-vfio-pci-Accept-domains-from-10000-up.patch": mail("[PATCH 2/2] vfio/pci: Accept"),
        "0000-cover-letter.patch": mail("[PATCH 0/2] vfio/pci: Cover", "Text.\n"),
    }
    assert len(read_folder(tmp_path, names)) == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["0001-a.patch", "v2-0001-a.patch"], r"2 versions of a series \(v1, v2\)"),
        (["0001-a.patch", "0003-c.patch"], "2 is missing"),
        (["0002-b.patch"], "1 is missing"),
    ],
)
def test_file_numbers(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(SeriesError, match=words):
        read_folder(tmp_path, {name: mail("[PATCH] vfio: A") for name in names})


def test_order_of_file_names(tmp_path: Path) -> None:
    files = {f"{number:04}-a.patch": mail(f"[PATCH] vfio: {number}") for number in (2, 1)}
    assert read_folder(tmp_path, files) == ["[PATCH] vfio: 1", "[PATCH] vfio: 2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DIFF, r"it is no mail with a patch, .* From:, Date: and Subject:"),
        (f"Author: A <a@example.org>\n\n{DIFF}", "no mail with a patch|it names no author"),
        (mail("vfio: A").replace("A <a@example.org>", "<>"), "it names no author"),
    ],
)
def test_what_is_no_mail_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.patch").write_text(text)
    (patch,) = read(tmp_path, tmp_path / "a.patch").patches
    place = Repository(tmp_path / "tree", WHO)
    place.path.mkdir()
    place.run("init", "--quiet", "--template=")
    (place.path / "a.c").write_text("one\n")
    place.commit("base", 0)
    with pytest.raises(DoesNotApply, match=words):
        gate_commit.apply(place, patch, tmp_path / "out.patch", tmp_path / "log")


def test_suffix_in_capitals(tmp_path: Path) -> None:
    names = "0001-a.patch", "0002-B.PATCH"
    assert len(read_folder(tmp_path, {name: mail("[PATCH] vfio: A") for name in names})) == 2


@pytest.mark.parametrize("listed", [{}, {"series": "0001-a.patch\n0002-b.patch\n"}])
@pytest.mark.parametrize("junk", ["junk\n", mail("[PATCH] vfio: B", "Why.\n")])
def test_last_file_without_a_diff_is_judged(
    tmp_path: Path, junk: str, listed: dict[str, str]
) -> None:
    """It would pass unseen: nothing else says that there are two."""
    files = {"0001-a.patch": mail("[PATCH] vfio: A"), "0002-b.patch": junk}
    assert len(read_folder(tmp_path, {**files, **listed})) == 2


@pytest.mark.parametrize(("link", "words"), [(True, "leads nowhere"), (False, "is no file")])
def test_name_of_a_patch_that_is_no_file(tmp_path: Path, link: bool, words: str) -> None:
    place = tmp_path / "patches/0002-b.patch"
    place.parent.mkdir()
    (place.parent / "0001-a.patch").write_text(mail("[PATCH] vfio: A"))
    if link:
        place.symlink_to("nowhere")
    else:
        place.mkdir()
    with pytest.raises(SeriesError, match=words):
        read(tmp_path, place.parent)


def test_quilt(tmp_path: Path) -> None:
    files = {name: mail(f"vfio: {name}") for name in ("b.patch", "a.patch", "c.patch")}
    listed = "# ours\nb.patch\na.patch -p1 # first\n\n"
    assert read_folder(tmp_path, {**files, "series": listed}) == ["vfio: b.patch", "vfio: a.patch"]


@pytest.mark.parametrize(
    ("listed", "words"),
    [("gone.patch\n", "gone.patch, which is not there"), ("a -p0\n", "level 1"), ("", "no patch")],
)
def test_quilt_with_mistakes(tmp_path: Path, listed: str, words: str) -> None:
    with pytest.raises(SeriesError, match=words):
        read_folder(tmp_path, {"series": listed})


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("=?windows-874?q?=5BPATCH=5D_vfio=3A_=A1?=", "[PATCH] vfio: ก"),
        ("=?iso-8859-1?q?=5BPATCH=5D_vfio=3A_=E9?=", "[PATCH] vfio: é"),
        ("[PATCH] vfio: é", "[PATCH] vfio: é"),
    ],
)
def test_subject_in_a_character_set(tmp_path: Path, header: str, shown: str) -> None:
    assert read_mailbox(tmp_path, mail(header)) == [shown]


def test_unknown_character_set(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match=r"git am cannot read .*x-unknown"):
        read_mailbox(tmp_path, mail("=?x-unknown?q?=5BPATCH=5D_vfio=3A_=E9?="))


def test_unknown_character_set_of_a_reply(tmp_path: Path) -> None:
    mails = mail("[PATCH] vfio: A"), mail("Re: =?x-unknown?q?=E9?=", "Nice.\n")
    assert read_mailbox(tmp_path, *mails) == ["[PATCH] vfio: A"]


def test_bytes_that_are_not_what_they_claim(tmp_path: Path) -> None:
    path = tmp_path / "a.patch"
    path.write_bytes(mail("[PATCH] vfio: X").replace("X", "é").encode("latin-1"))
    (one,) = read(tmp_path, path).patches
    # git takes it for Latin-1 or leaves it: either way it can be shown.
    assert one.subject in ("[PATCH] vfio: é", r"[PATCH] vfio: \xe9")


@pytest.mark.parametrize("path", ["../../outside", "/etc/passwd", ".git/config"])
def test_paths_that_lead_out(tmp_path: Path, path: str) -> None:
    diff = DIFF.replace("a/a.c", f"a/{path}").replace("b/a.c", f"b/{path}")
    (tmp_path / "a.patch").write_text(mail("[PATCH] vfio: A", f"Why.\n\n---\n{diff}"))
    assert read(tmp_path, tmp_path / "a.patch").patches[0].paths == ()


def test_both_names_of_a_move(tmp_path: Path) -> None:
    diff = "diff --git a/old.c b/new.c\nsimilarity index 100%\nrename from old.c\nrename to new.c\n"
    (tmp_path / "a.patch").write_text(mail("[PATCH] vfio: A", f"Why.\n\n---\n{diff}"))
    assert set(read(tmp_path, tmp_path / "a.patch").patches[0].paths) == {"old.c", "new.c"}


def test_base_commit_in_the_cover_letter(tmp_path: Path) -> None:
    path = tmp_path / "all.mbox"
    base = "0123456789abcdef0123456789abcdef01234567"
    cover = mail("[PATCH 0/1] vfio: A", f"Text.\n\nbase-commit: {base}\n")
    path.write_text(mailbox(cover, mail("[PATCH 1/1] vfio: A")))
    assert read(tmp_path, path).base == base


def test_maildir(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / "box" / name).mkdir(parents=True)
    (tmp_path / "box/cur/2:2,S").write_text(mail("[PATCH 1/2] vfio: A"))
    (tmp_path / "box/cur/1:2,S").write_text(mail("[PATCH 2/2] vfio: B"))
    subjects = [patch.subject for patch in read(tmp_path, tmp_path / "box").patches]
    assert subjects == ["[PATCH 1/2] vfio: A", "[PATCH 2/2] vfio: B"]


def test_what_git_itself_splits(tmp_path: Path) -> None:
    text = mailbox(*(mail(f"[PATCH {number}/3] vfio: A") for number in (1, 2, 3)))
    (tmp_path / "box").write_text(text)
    (tmp_path / "git").mkdir()
    argv = ["git", "mailsplit", f"-o{tmp_path / 'git'}", str(tmp_path / "box")]
    subprocess.run(argv, check=True, capture_output=True)
    ours = [one.path.read_bytes() for one in split(tmp_path / "box", tmp_path / "ours")]
    assert ours == [path.read_bytes() for path in sorted((tmp_path / "git").iterdir())]


def test_partial_clone(tmp_path: Path) -> None:
    """Files of a commit that were never checked out are not there; what is said to do helps."""
    origin, clone = Repository(tmp_path / "origin", WHO), tmp_path / "clone"
    origin.path.mkdir()
    origin.run("init", "--quiet", "--template=")
    origin.run("config", "uploadpack.allowFilter", "true")
    for text in ("one\n", "two\n", "three\n"):
        (origin.path / "a.c").write_text(text)
        origin.commit(f"vfio: Say {text}", 0)
    argv = ["git", "clone", "-q", "--filter=blob:none", f"file://{origin.path}", str(clone)]
    subprocess.run(argv, check=True)
    with pytest.raises(SourceTreeError, match="is a partial clone") as caught:
        gate_series.read("HEAD~2..HEAD", clone, tmp_path / "first", WHO)
    subprocess.run(str(caught.value).rpartition(": ")[2].split(), check=True, capture_output=True)
    found = gate_series.read("HEAD~2..HEAD", clone, tmp_path / "second", WHO)
    assert [one.subject for one in found.patches] == [
        "[PATCH] vfio: Say two",
        "[PATCH] vfio: Say three",
    ]
