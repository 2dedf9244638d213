# SPDX-License-Identifier: GPL-2.0-only
"""Mails nobody would write: each is judged or refused in words, and nothing is judged unseen."""

import base64
import quopri
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.gate import report as gate_report
from conformance.gate.checks import message
from conformance.gate.input import commit as gate_commit
from conformance.gate.input import series as gate_series
from conformance.gate.input.commit import DoesNotApply, Patch
from conformance.gate.input.mail import Mail
from conformance.gate.results import PatchResult, Report, Step
from conformance.gate.seen import skipped
from kpatch.errors import SeriesError
from kpatch.tests.fuzzing import drawn
from kpatch.tools.git import Identity, Repository

QUICK, SLOW = drawn(50), drawn(8, 0.1)

WHO = Identity("Ada", "ada@example.org")
DIFF = "--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-one\n+two\n"
CHARSETS = ["utf-8", "us-ascii", "iso-8859-1", "windows-874", "utf-16", "x-unknown", "", "\x00"]
SUBJECTS = ["[PATCH] vfio: A", "[PATCH 1/1] vfio: é", "Re: [PATCH] vfio: A", "[PATCH 0/1] vfio: A",
            "[PATCH v2 1/1] vfio: A", "", "[", "[]]", "vfio: " + "a" * 500]  # fmt: skip
ENCODINGS = ["7bit", "8bit", "base64", "quoted-printable", "x-uuencode", "none"]
NAMES = ["a.c", '"a\\303\\251.c"', "../a.c", "/dev/null", "a b.c", ".git/config", "\t", "a\x00c"]


@st.composite
def mails(draw: st.DrawFn) -> bytes:
    """Draw a mail: mostly one that could be, with parts and bytes that could not."""
    path = draw(st.sampled_from(NAMES))
    body = "Why.\n\n---\n" + DIFF.replace("a/a.c", f"a/{path}", 1).replace("b/a.c", f"b/{path}", 1)
    body += draw(st.sampled_from(["", "\n-- \n2.39\n", "\nbase-commit: 0123456\n", DIFF]))
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    data = body.replace("\n", ending).encode(draw(st.sampled_from(["utf-8", "utf-16"])))
    how = draw(st.sampled_from(ENCODINGS))
    if how == "base64":
        data = base64.encodebytes(data)
    elif how == "quoted-printable":
        data = quopri.encodestring(data)
    subject = draw(st.sampled_from(SUBJECTS) | st.text(max_size=30))
    charset = draw(st.sampled_from(CHARSETS))
    head = f"From: A <a@example.org>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: {subject}\n"
    head += f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {how}\n"
    if draw(st.booleans()):
        head = head.replace("text/plain;", "multipart/mixed; boundary=s;")
        data = b"--s\nContent-Type: text/plain\n\n" + data + b"\n--s--\n"
    text = head.encode("utf-8", "surrogatepass") + b"\n" + data
    at = draw(st.integers(0, len(text)))
    cut = draw(st.integers(0, 20) | st.just(len(text)))
    odd = draw(st.just(b"") | st.binary(max_size=8))
    return text[:at] + odd + text[at + cut :] if draw(st.booleans()) else text


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    found = Repository(tmp_path_factory.mktemp("repository"), WHO)
    found.run("init", "--quiet", "--template=")
    (found.path / "a.c").write_text("one\n")
    found.commit("base", 0)
    return found


@SLOW
@given(st.lists(mails(), min_size=1, max_size=3), st.booleans())
def test_any_mailbox(repository: Repository, texts: list[bytes], many: bool) -> None:
    base = repository.out("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what = folder / "box"
        if many:
            what.mkdir()
            for number, text in enumerate(texts, 1):
                (what / f"{number:04}-a.patch").write_bytes(text)
        else:
            what.write_bytes(b"".join(b"From a Thu Jan  1 00:00:00 1970\n" + t for t in texts))
        try:
            series = gate_series.read(str(what), folder, folder / "scratch", WHO)
        except SeriesError:
            return  # refused, in words
        assert series.patches
        for number, mail in enumerate(series.patches, 1):
            assert not any(".." in Path(path).parts for path in mail.paths)
            try:
                patch = gate_commit.apply(
                    repository, mail, folder / f"{number}.patch", folder / f"{number}.log"
                )
            except DoesNotApply:
                assert repository.out("status", "--porcelain") == ""
                break
            # What git committed is what is judged: nothing that it changes goes unseen.
            assert patch.touched == repository.out(
                "diff-tree", "-r", "-z", "--no-renames", "--no-commit-id", "--name-only", "HEAD"
            ).strip("\0").split("\0")
            message(patch, signoff=True)
            entry = PatchResult(number, patch.subject, (Step("message", "noted", patch.subject),))
            report = Report("x", "y", "6.12", "z", (entry,))
            gate_report.write(report, folder / "out")
        repository.run("reset", "--quiet", "--hard", base)


NUMBERED = st.builds(
    lambda version, number, total: f"[PATCH v{version} {number}/{total}] vfio: A",
    st.integers(1, 2), st.integers(0, 4), st.integers(1, 4),
)  # fmt: skip


@QUICK
@given(st.lists(st.tuples(NUMBERED | st.sampled_from(SUBJECTS) | st.text(), st.booleans())))
def test_a_series_is_whole_or_refused(drawn: list[tuple[str, bool]]) -> None:
    given_ = [Mail(Path("x"), "x", subject, has_diff) for subject, has_diff in drawn]
    try:
        series = gate_series.in_order(given_, "box", lambda found: found)
    except SeriesError:
        return
    numbers = [patch.number for patch in series.patches if patch.number]
    if numbers:
        total = numbers[0][1]
        assert numbers == [(number, total) for number in range(1, total + 1)]
    assert len({patch.version for patch in series.patches}) == 1
    # A diff that is not judged is shown of.
    assert sum(one.has_diff for one in given_) == len(series.left_out) + sum(
        patch.has_diff for patch in series.patches
    )


def _put(path: Path, kind: str) -> None:
    """Write a file of a series, or what is none and has its name."""
    head = "From: A <a@example.org>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: {}\n\nWhy.\n"
    texts = {
        "good": head.format("[PATCH] vfio: A") + f"---\n{DIFF}",
        "reply": head.format("Re: [PATCH] vfio: A"),
        "answer with a diff": head.format("Re: [PATCH] vfio: A") + DIFF,
        "no diff": head.format("[PATCH] vfio: A"),
        "plain": DIFF,
        "junk": "\x00\x01 junk",
        "empty": "",
    }
    if kind == "link":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text(texts[kind])


KINDS = ["good", "good", "reply", "answer with a diff", "no diff", "plain", "junk", "empty", "link",
         "folder"]  # fmt: skip


@SLOW
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["patch", "PATCH", "eml", "diff"]))),
    st.booleans(),
)
def test_no_file_of_a_series_is_left_out_unsaid(kinds: list[tuple[str, str]], quilt: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "series")
        folder.mkdir()
        files = [f"{number:04}-a.{suffix}" for number, (_, suffix) in enumerate(kinds, 1)]
        for file, (kind, _) in zip(files, kinds, strict=True):
            _put(folder / file, kind)
        if quilt:
            (folder / "series").write_text("\n".join(files))
        try:
            found = gate_series.read(str(folder), folder, Path(name, "scratch"), WHO)
        except SeriesError:
            return  # refused, in words
        assert len(found.patches) + len(found.left_out) == len(files)


LINES = st.sampled_from(["#ifdef CONFIG_A", "#ifndef CONFIG_A", "#if IS_ENABLED(CONFIG_B)", "#else",
                         "#endif", "#elif defined(CONFIG_B)", "#if 1", "int x;", ""])  # fmt: skip


@QUICK
@given(st.lists(LINES | st.text(max_size=20)), st.sampled_from([{}, {"A": "y"}, {"B": "m"}]))
def test_any_conditions(lines: list[str], config: dict[str, str]) -> None:
    text = "\n".join(lines)
    found = skipped(text, set(range(1, len(lines) + 1)), set(), config)
    if found:
        assert text.split("\n")[found[0] - 1].strip()


@QUICK
@given(st.text(), st.lists(st.text(), max_size=4))
def test_any_words_in_a_report(subject: str, details: list[str]) -> None:
    step = Step("build", "failed", subject, tuple(details))
    report = Report("x", "y", "6.12", "z", (PatchResult(1, subject, (step,)),), 1)
    gate_report.table(report)
    gate_report.markdown(report)
    root = gate_report.junit(report).getroot()
    assert root is not None
    assert len(root.findall(".//failure")) == 1


def test_a_report_of_any_length_is_read_by_servers(tmp_path: Path) -> None:
    """libxml2 takes 10 MB of a text, a summary on GitHub 1 MiB; gate.json has all."""
    details = tuple(f"a.c:{number}: {'x' * 200}" for number in range(100_000))
    step = Step("checkpatch", "failed", "y" * 10**6, details)
    gate_report.write(
        Report("x", "y", "6.12", "z", (PatchResult(1, "s" * 10**6, (step,)),)), tmp_path
    )
    root = ElementTree.fromstring((tmp_path / "junit.xml").read_text())  # noqa: S314 - ours
    texts = [text for one in root.iter() for text in (one.text or "", *one.attrib.values())]
    assert max(map(len, texts)) < 10**6
    assert "cut; in full in gate.json" in max(texts, key=len)
    assert (tmp_path / "gate.md").stat().st_size < 1 << 20
    assert (tmp_path / "gate.json").read_text().count("a.c:") == len(details)


@QUICK
@given(st.lists(st.sampled_from(["```", "``` c", "`````", "a ``` b", "# x"]) | st.text()))
def test_a_patch_cannot_end_the_block_that_quotes_it(details: list[str]) -> None:
    step = Step("build", "failed", "bad", ("first", *details))
    report = Report("x", "y", "6.12", "z", (PatchResult(1, "subject", (step,)),), 1)
    lines = gate_report.markdown(report)
    start = lines.index("first") - 1
    # As CommonMark has it: at least as many backticks as at the beginning, and nothing else.
    ends = [number for number, line in enumerate(lines) if line.strip("` ") == ""
            and line.count("`") >= len(lines[start]) and number > start]  # fmt: skip
    assert lines[start].strip("`") == ""
    assert ends == [start + len(details) + 2]


@QUICK
@given(st.text())
def test_any_diff(text: str) -> None:
    patch = Patch(Path("x"), "s", "b", text, ())
    assert isinstance(patch.added(".*"), str)
    assert isinstance(patch.removed(".*"), str)
