"""Text tables of every make, against Python's csv module: read right, or refused with the line."""

import codecs
import csv
import gzip
import io
import random
import re

import numpy as np
import polars as pl
import pytest

import alphafair as af
from alphafair.command import main
from alphafair.command.lines import survey

HEADERS = ("note", 'note "x"', "note, or so", "two\nlines", "größe", "")
NOTES = (
    *("", "a", "007", "NA", " both ", "a,b", "x;y", "t\tb", "p|q", "#", "'"),
    *('q"q', '"', '""', "one\ntwo", "one\r\ntwo", "é", "ünï"),
)
WIDE_NOTES = ("日本", "☃", "𝛼")  # for encodings that have them
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16")


class Made:
    """A table, and how it is written."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        choose = self.random.choice
        self.separator = choose(",,;\t|")
        self.decimal = choose("..,")
        self.encoding = choose(ENCODINGS)
        self.eol = choose(("\n", "\n", "\r\n", "\r"))
        self.quoting = choose((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
        self.zipped = self.random.random() < 0.2
        self.blanks = self.random.random() < 0.3
        self.says_so = self.random.random() < 0.4
        self.header = ["id", "uplift", "price", "district", choose(HEADERS)]
        self.order = self.random.sample(range(5), 5)
        self.rows = [self.row(i) for i in range(self.random.randint(2, 40))]
        self.rows[0][1] = f"1{self.decimal}5"  # a sign that says which one it is

    def row(self, i):
        notes = NOTES + (WIDE_NOTES if self.encoding.startswith("utf") else ())
        return [f"{i:03}", self.number(), self.number(), self.random.choice("abé"),
                self.random.choice(notes)]  # fmt: skip

    def number(self):
        value = self.random.choice((3, 0.5, 1.25, 17.125, 0.0625, 1e4))
        text = f"{value:.{self.random.choice((1, 2, 4))}f}" if value % 1 else f"{value:g}"
        text = self.random.choice((text, text, f"+{text}", f" {text}"))
        return text.replace(".", self.decimal)

    def text(self):
        """The table as text, by the csv module, and blank lines in between."""
        lines = []
        for row in [self.header, *self.rows]:
            cells = [row[j] for j in self.order]
            # The module does not quote a line end of another kind by itself.
            awkward = any("\n" in cell or "\r" in cell for cell in cells)
            line = io.StringIO()
            quoting = csv.QUOTE_ALL if awkward else self.quoting
            writer = csv.writer(
                line, delimiter=self.separator, lineterminator=self.eol, quoting=quoting
            )
            writer.writerow(cells)
            lines.append(line.getvalue())
            if self.blanks and self.random.random() < 0.2:
                lines.append(self.eol)
        return "".join(lines)

    def save(self, path, text):
        data = text.encode(self.encoding)
        path.write_bytes(gzip.compress(data) if self.zipped else data)

    @property
    def name(self):
        return f"people.{'tsv' if self.separator == chr(9) else 'csv'}{'.gz' * self.zipped}"

    def options(self):
        if not self.says_so:
            return []
        return ["--separator", {"\t": "tab"}.get(self.separator, self.separator),
                "--decimal", self.decimal, "--encoding", self.encoding]  # fmt: skip

    def call(self, path, *more):
        return main([
            str(path), "--benefit", "uplift", "--cost", "price", "--group", "district",
            "--budget", "100", "--alpha", "2", "--within", "0.5", *self.options(), *more,
        ])  # fmt: skip

    def read(self, path):
        """A table that this dialect describes, by the csv module, without blank lines."""
        data = path.read_bytes()
        text = (gzip.decompress(data) if self.zipped else data).decode(self.encoding)
        file = io.StringIO(text, newline="")
        return [row for row in csv.reader(file, delimiter=self.separator) if row]


@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_every_dialect(tmp_path, capsys, part, stream):
    """200 tables each: cells pass through, doses are those of the array problem."""
    for seed in range(part, 200, 8):
        made = Made(seed)
        source, out = tmp_path / made.name, tmp_path / f"out_{made.name}"
        made.save(source, made.text())
        assert made.call(source, "-o", str(out), "--force", stream) == 0, (
            seed,
            capsys.readouterr().err,
        )
        capsys.readouterr()
        header, *rows = made.read(source)
        got_header, *got = made.read(out)
        assert got_header == [*header, "dose"], seed
        if stream == "--stream":
            place = header.index("id")
            got.sort(key=lambda row: row[place])
        assert [row[:-1] for row in got] == rows, seed
        column = dict(zip(header, zip(*rows, strict=True), strict=True))
        benefit, cost = (
            [float(cell.replace(made.decimal, ".")) for cell in column[name]]
            for name in ("uplift", "price")
        )
        expected = af.allocate(benefit, cost, column["district"], 100, 2, within=0.5).dose.ravel()
        dose = [float(row[-1].replace(made.decimal, ".")) for row in got]
        np.testing.assert_allclose(dose, expected, rtol=1e-11, err_msg=str(seed))


def spoiled(made, how):
    """A table with something wrong, and what the message must hold."""
    made.header[4], made.blanks, made.quoting = "note", True, csv.QUOTE_MINIMAL
    made.says_so, made.rows[1][4] = False, "x"
    kind = made.random.randrange(1, len(made.rows))
    row = made.rows[kind]
    mark = "MARK"
    row[0] = mark
    what = {"word": "holds 'abc', which is no number"}.get(how, "")
    if how == "word":
        row[1] = "abc"
    elif how == "missing":
        row[1] = ""
        what = "missing value"
    elif how == "label":
        row[3] = ""
        what = "missing value"
    text = made.text()
    if how == "ragged":
        text = text.replace(mark, mark + made.separator)
        what = "has 6 cells and the header 5"
    elif how == "short":
        text = re.sub(r'"?MARK"?' + re.escape(made.separator), "MARK", text)
        text = re.sub(re.escape(made.separator) + r'"?MARK"?(\r|\n)', r"MARK\1", text)
        what = "has 4 cells and the header 5"
    elif how == "quote":
        text = text.replace(mark, f'{mark}"inch')
        what = "has a quote in the middle of a cell"
    elif how == "nul":
        text = text.replace(mark, f"{mark}\0")
        what = "holds a NUL byte"
    # the lines of the file up to it, those inside of cells included
    line = text[: text.index(mark)].count(made.eol[-1]) + 1
    start = text.rfind(made.eol[-1], 0, text.index(mark))
    return text, what, line, start


@pytest.mark.parametrize("how", ["word", "missing", "label", "ragged", "short", "quote", "nul"])
def test_what_is_wrong_is_told_with_its_line(tmp_path, capsys, how):
    for seed in range(16):
        made = Made(1000 + seed)
        if how == "nul" and made.encoding == "utf-16":
            continue
        text, what, line, _ = spoiled(made, how)
        if "\n" in text.replace(made.eol, "") or "\r" in text.replace(made.eol, ""):
            continue  # lines inside of cells end in another way: editors count differently
        source = tmp_path / made.name
        made.save(source, text)
        assert made.call(source, "--no-stream") == 1, seed
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"alphafair: error: .+\n", err), (seed, err)
        assert what in err, (seed, err)
        assert re.search(rf"\bline {line}\b", err), (seed, line, err)
        assert [path.name for path in tmp_path.iterdir()] == [made.name]


CALL = ["--benefit", "u", "--group", "g", "--budget", "1", "--alpha", "1", "-o", "out.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"u,g\n1,\n", "group column 'g' has 1 missing value (first: line 2)"),
        (b'u,g\n1,""\n', "group column 'g' has 1 missing value (first: line 2)"),
        (b'u,g\n1,"a\nb"\n\n2,""\n', "group column 'g' has 1 missing value (first: line 5)"),
        (b"u,g,u\n1,a,2\n", "t.csv has two columns 'u'"),
        (b'u,g\n1,"a\n', "line 2 opens a quote that is not closed"),
        (b"u,g\n1,a\rb\n", "line 2 holds a line end of another kind"),
        (b"u,g\r1,a\n", "line 2 holds a line end of another kind"),
        (b"u,g\n1,\xff\x00\n", "line 2 holds a NUL byte"),
        (b"", "t.csv is empty"),
        (b"\n\n", "t.csv is empty"),
        (b"u,g\n", "the frame is empty"),
        (b'u;g\n"1,234";a\n"2,000";b\n', "'1,234' may be 1.234 or 1234: say --decimal ,"),
        (b"u;g\n1.5;a\n2,5;b\n", "line 3: column 'u' holds '2,5', which is no number (decimal"),
        (b"u;g\n0,5;a\n" + b"0,5;a\n" * 10**5 + b"2.5;b\n", "line 100003: column 'u' holds"),
        (b"u,g\n1_0,a\n", "line 2: column 'u' holds '1_0'"),
        (b"u,g\n1e999,a\n", "infinite"),
        (b"\x1f\x8bu,g\n1_0,a\n", "damaged"),
        (gzip.compress(b"u,g\n1,a\n", mtime=0)[:-9], "damaged"),
    ],
)
def test_refused(tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_bytes(content)
    assert main(["t.csv", *CALL]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"alphafair: error: .+\n", err), err
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("u,g\n1,a\nleer,b\n", ["--null", "leer"], "'u' has 1 missing value (first: line 3)"),
        ("u,g\n1,a\n2,leer\n", ["--null", "leer"], "'g' has 1 missing value (first: line 3)"),
        ("u,g\n1,a\nNA,b\n", [], "'u' has 1 missing value (first: line 3)"),
        ("u,g\n1,é\n", ["--encoding", "ascii"], "t.csv is not encoded as ascii"),
        ("u,g\n1,é\n", ["--encoding", "utf-16"], "not encoded as utf-16"),
        ("u;g\n1;a\n", ["--separator", ","], "t.csv has one column, 'u;g': must have at least two"),
    ],
)
def test_refused_with_options(tmp_path, monkeypatch, capsys, content, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    assert main(["t.csv", *CALL, *options]) == 1
    assert message in capsys.readouterr().err


def test_na_is_a_label(tmp_path, monkeypatch, capsys):
    """Namibia is a country; in a column of numbers the same word is a missing value."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("u,g\n1,NA\n1,b\n")
    assert main(["t.csv", *CALL]) == 0
    assert (tmp_path / "out.csv").read_text() == "u,g,dose\n1,NA,0.5\n1,b,0.5\n"


def test_late_bytes_that_are_not_utf_8(tmp_path, monkeypatch, capsys):
    """Beyond what is looked at to find out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_bytes(b"u,g\n" + b"1,a\n" * (2**20 + 5) + b"1,\xe9\n")
    assert main(["t.csv", *CALL]) == 1
    err = capsys.readouterr().err
    assert f"t.csv, line {2**20 + 7}, is not encoded as utf-8: name its encoding" in err


def test_what_is_found_out_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_bytes("u;g\n1,5;é\n2;b\n".encode("latin-1"))
    assert main(["t.csv", *CALL]) == 0
    told = "read: t.csv, separator semicolon, decimal comma, encoding cp1252 (a guess: --encoding"
    assert told in capsys.readouterr().out
    assert (tmp_path / "out.csv").read_bytes().startswith("u;g;dose\n1,5;é;0,".encode("latin-1"))


@pytest.mark.parametrize("piece", [7, 16, 33, 1000])
def test_pieces_do_not_matter(tmp_path, monkeypatch, piece):
    """A file is surveyed in pieces that end anywhere."""
    monkeypatch.setattr("alphafair.command.lines.PIECE", piece)
    text = 'a,b\r\n1,"x\r\ny"\r\n\r\n"""q""",z\r\n,\r\n"",""\r\nlast,"no, end"'
    (tmp_path / "t.csv").write_text(text, newline="")
    found = list(survey(tmp_path / "t.csv", ",", "\r\n"))
    data = b"".join(records.data.tobytes() for records in found)
    assert data.decode() == text + "\n"
    lines = [r.line_of(j, 10) for r in found for j in range(r.start.size) if not r.blank[j]]
    assert lines == [1, 2, 5, 6, 7, 8]


def test_the_encodings_are_known():
    assert all(codecs.lookup(name) for name in ENCODINGS)


def test_other_kinds_of_text(tmp_path, monkeypatch, capsys):
    """.tsv and .csv.gz, in and out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.tsv").write_text("u\tg\n1\ta\n1\tb, c\n")
    assert main(["t.tsv", *CALL[:-2]]) == 0
    assert (tmp_path / "t_doses.tsv").read_text() == "u\tg\tdose\n1\ta\t0.5\n1\tb, c\t0.5\n"
    assert main(["t.tsv", *CALL]) == 0
    assert (tmp_path / "out.csv").read_text() == 'u,g,dose\n1,a,0.5\n1,"b, c",0.5\n'
    assert main(["out.csv", *CALL[:-2], "-o", "again.csv.gz", "--budget", "2"][:-2]) == 1
    assert "has a column 'dose' already" in capsys.readouterr().err
    assert main(["t.tsv", *CALL[:-2], "-o", "t.csv.gz"]) == 0
    assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()).startswith(b"u,g,dose\n1,a,0.5")
    assert pl.read_csv("t.csv.gz")["dose"].to_list() == [0.5, 0.5]
