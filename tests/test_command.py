"""The command: what it writes, what it says, what it leaves behind when something is wrong."""

import os
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import alphafair as af
from alphafair.command import main

ROWS = """\
id,uplift,price,district,most,note
007,2.0,1,2,1,"a, b"
008,1.50,1,10,1,NA
009,3,2,2,1,
010,1,1,10,2,x
"""
OPTIONS = ["--benefit", "uplift", "--cost", "price", "--group", "district", "--budget", "10"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in that holds only people.csv."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(ROWS)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def options(*arguments):
    """OPTIONS, but for those that the arguments give."""
    pairs = zip(OPTIONS[::2], OPTIONS[1::2], strict=True)
    return [text for pair in pairs if pair[0] not in arguments for text in pair] + [*arguments]


def run(*arguments, alpha="2", table="people.csv"):
    alphas = [] if "--alpha" in arguments else ["--alpha", alpha]
    return main([table, *options(*arguments), *alphas])


def expected_dose(alpha, **other):
    table = pl.read_csv(ROWS.encode())
    return af.allocate(
        table["uplift"], table["price"], table["district"], 10, alpha, **other
    ).dose.ravel()


def refused(capsys, code, got):
    """The one line on stderr of a run that has been refused."""
    out, err = capsys.readouterr()
    assert got == code
    assert out == ""
    assert re.fullmatch(r"alphafair: error: .+\n", err), err
    return err


@pytest.mark.parametrize("alpha", ["0", "0.5", "2", "inf"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_csv(folder, alpha, stream):
    assert run(stream, alpha=alpha) == 0
    got = pl.read_csv("people_doses.csv").sort("id")
    # engines have other logarithms and add in another order
    np.testing.assert_allclose(got["dose"], expected_dose(float(alpha)), rtol=1e-12)
    assert names(folder) == ["people.csv", "people_doses.csv"]


def test_other_columns_pass_through(folder):
    """Ids keep their zeros, prices theirs, text its commas, and NA is a word like others."""
    assert run("-o", "out.csv") == 0
    header, first, second, *_ = (folder / "out.csv").read_text().splitlines()
    assert header == "id,uplift,price,district,most,note,dose"
    assert first.startswith('007,2.0,1,2,1,"a, b",4.64')
    assert second.startswith("008,1.50,1,10,1,NA,5.35")


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_parquet(folder, stream):
    table = pl.read_csv(ROWS.encode())
    table.write_parquet("people.parquet")
    assert run("--weight", "size", "--within", "0.5", stream, table="people.parquet") == 0
    got = pl.read_parquet("people_doses.parquet").sort("id")
    assert got.drop("dose").equals(table)
    np.testing.assert_allclose(got["dose"], expected_dose(2, weight="size", within=0.5), rtol=1e-12)


def test_from_csv_to_parquet_with_persons(folder):
    table = pl.read_csv(ROWS.encode()).with_columns(id=pl.Series([1, 2, 1, 2]))
    table.write_csv("people.csv")
    assert run("--person", "id", "--weight", "size", "-o", "out.parquet") == 0
    dose = pl.read_parquet("out.parquet")["dose"]
    np.testing.assert_allclose((dose * table["price"]).sum(), 10, rtol=1e-12)
    # one person a group: sizes are equal, and so are the weights
    np.testing.assert_allclose(dose, expected_dose(2), rtol=1e-12)


def test_report(folder, capsys):
    """Max-min by hand: p = (1, 0.75), so that x = (30, 40)/7 and both utilities are 30/7."""
    assert run(alpha="inf") == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress where nobody watches
    lines = [line.split() for line in out.splitlines()]
    assert lines[:4] == [
        ["group", "people", "budget", "share", "utility"],
        ["2", "2", "4.28571", "42.9%", "4.28571"],  # 2 before 10: they are numbers
        ["10", "2", "5.71429", "57.1%", "4.28571"],
        ["all", "4", "10", "100.0%"],
    ]
    assert "α = inf; one more unit of budget adds 0.428571 welfare" in out
    assert "left over" not in out
    assert out.endswith("doses: people_doses.csv\n")


def test_report_of_many_groups_is_cut(folder, capsys):
    table = pl.DataFrame({"u": [1.0] * 50, "g": [f"g{k:02}" for k in range(50)]})
    table.write_csv("many.csv")
    call = ["--benefit", "u", "--group", "g", "--budget", "0", "--alpha", "1"]
    assert main(["many.csv", *call]) == 0
    out = capsys.readouterr().out
    assert "g39" in out
    assert "g40" not in out
    assert "… and 10 more" in out


def test_caps(folder, capsys):
    """All caps cost 1 + 1 + 2 + 2 = 6 of 10."""
    assert run("--cap", "most") == 0
    assert pl.read_csv("people_doses.csv")["dose"].to_list() == [1, 1, 1, 2]
    assert "left over: 4, because" in capsys.readouterr().out
    assert run("--cap", "0.5", "--force") == 0
    assert pl.read_csv("people_doses.csv")["dose"].to_list() == [0.5] * 4


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_name_is_no_pattern(folder, stream, suffix):
    """people[1] is that file, not people1, which is another one."""
    table = pl.read_csv(ROWS.encode())
    getattr(table, f"write_{suffix}")(f"people[1].{suffix}")
    getattr(table.head(3), f"write_{suffix}")(f"people1.{suffix}")
    assert run(stream, table=f"people[1].{suffix}") == 0
    written = f"people[1]_doses.{suffix}"
    got = (
        pl.read_csv(written, glob=False)
        if suffix == "csv"
        else pl.read_parquet(written, glob=False)
    )
    np.testing.assert_allclose(got.sort("id")["dose"], expected_dose(2), rtol=1e-12)


@pytest.mark.parametrize("within", ["0", "0.5"])
def test_baselines_and_bounds_of_doses(folder, within):
    """With persons, of whom one has a row more than the other."""
    (folder / "people.csv").write_text(
        "id,uplift,price,district,most,have\n"
        "x,2,1,n,1,0.5\ny,3,2,s,inf,0\nx,1.5,1,n,2,0.5\nz,1,1,n,2,1\n"
    )
    options = ["--person", "id", "--within", within, "--floor", "0.25", "--cap", "most"]
    assert run(*options, "--baseline", "have", "-o", "out.parquet") == 0
    expected = af.allocate(
        [[2.0, 1.5], [3.0, 0], [1.0, 0]],
        [[1.0, 1.0], [2.0, 1.0], [1.0, 1.0]],
        ["n", "s", "n"],
        10,
        2,
        within=float(within),
        baseline=[0.5, 0, 1],
        floor=[[0.25, 0.25], [0.25, 0], [0.25, 0]],
        cap=[[1.0, 2], [np.inf, 0], [2, 0]],
    ).dose
    got = pl.read_parquet("out.parquet")["dose"]
    np.testing.assert_allclose(got, expected[[0, 1, 0, 2], [0, 0, 1, 0]], rtol=1e-12)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("table", ["people.csv", "people.parquet"])
def test_bounds_of_groups(folder, capsys, stream, table):
    """By label, as text or as the number that Parquet keeps; the others are not bounded."""
    pl.read_csv(ROWS.encode()).write_parquet("people.parquet")
    assert run("--group-floor", "2=7", "--group-cap", "10=2", stream, table=table) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows[1:4]] == [["2", "2", "8"], ["10", "2", "2"], ["all", "4", "10"]]
    assert run("--group-floor", "10=7", "--force", stream, table=table) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows[1:3]] == [["2", "2", "3"], ["10", "2", "7"]]
    assert run("--group-cap", "10=2", "--group-cap", "2=3", "--force", stream, table=table) == 0
    out = capsys.readouterr().out
    assert "left over: 5, because every dose or group that helps is at its cap" in out


def test_long_files_are_streamed_and_say_so(folder, monkeypatch, capsys):
    """Ties show which way was taken: the stream has no first row."""
    (folder / "people.csv").write_text(ROWS.replace("009,3,2", "009,2,1"))
    monkeypatch.setattr("alphafair.command.tables.STREAMED", 10)
    monkeypatch.setattr("alphafair.progress.PATIENCE", 1e-9)
    assert run(alpha="1") == 0
    assert pl.read_csv("people_doses.csv").sort("id")["dose"].to_list() == [2.5, 5, 2.5, 0]
    err = capsys.readouterr().err
    assert "allocating (stage 1 of 3" in err
    assert "writing the doses of 4 people (stage 2 of 3" in err


# --- refusals: one line, an exit code, nothing left behind ----------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alpha", "-1"], "argument --alpha: '-1' is not a number between 0 and inf"),
        (["--alpha", "nan"], "'nan' is not a number between 0 and inf"),
        (["--alpha", "two"], "'two' is not a number"),
        (["--within", "-1"], "argument --within"),
        (["--budget", "inf"], "argument --budget: 'inf' is not a finite number ≥ 0"),
        (["--cost", "0"], "argument --cost: '0' is not a column or a finite number > 0"),
        (["--cost", "-1"], "argument --cost: '-1' is not a column or a finite number > 0"),
        (["--cost", "inf"], "argument --cost: 'inf' is not a column or a finite number > 0"),
        (["--cap", "-1"], "argument --cap: '-1' is not a column or a number ≥ 0"),
        (["--cap", "nan"], "argument --cap: 'nan' is not a column or a number ≥ 0"),
        (["--floor", "-1"], "argument --floor: '-1' is not a column or a finite number ≥ 0"),
        (["--baseline", "inf"], "argument --baseline: 'inf' is not a column or a finite number"),
        (["--floor", "2", "--cap", "1"], "--floor 2 is above --cap 1"),
        (["-o", "doses.txt"], "doses.txt: unknown kind of file, must end in .csv or .parquet"),
        (["-o", "./people.csv"], "people.csv is the input: choose another output"),
        (["--cap", "1", "--whole", "--stream"], "--whole needs the table in memory"),
        (
            ["--floor", "1", "--stream", "--alpha", "1", "--alpha", "2"],
            "several --alpha with --floor needs the table in memory",
        ),
        (
            ["--baseline", "most", "--stream", "--frontier"],
            "--frontier with --baseline needs the table in memory",
        ),
        (["--group-floor", "north"], "--group-floor: 'north' is not of the form GROUP=MONEY"),
        (["--group-floor", "2=inf"], "--group-floor: 'inf' is not a finite number ≥ 0"),
        (["--group-cap", "2=-1"], "--group-cap: '-1' is not a number ≥ 0"),
        (["--group-cap", "2=1", "--group-cap", "2=3"], "--group-cap is given twice for group 2"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_bad_arguments(folder, capsys, arguments, message):
    assert message in refused(capsys, 2, run(*arguments))
    assert names(folder) == ["people.csv"]


def test_missing_arguments(capsys):
    got = main(["people.csv", "--benefit", "u"])
    assert "required: --group, --budget, --alpha" in refused(capsys, 2, got)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benefit", "uplif"], "benefit column 'uplif' is not in the frame"),
        (["--person", "who"], "person column 'who' is not in the frame"),
        (["--benefit", "note"], "column 'note'"),
        (["--cap", "0", "--within", "1"], "no item with a positive benefit and cap"),
        (["--group-cap", "3=1"], "--group-cap: there is no group '3'"),
        (["--group-floor", "01=1"], "--group-floor: there is no group '01'; did you mean '10'?"),
        (["--group-floor", "2=6", "--group-floor", "10=5"], "group_floor adds up to 11"),
        (["--group-floor", "2=6", "--group", "distric"], "group column 'distric' is not in the"),
        (["-o", "nowhere/doses.csv"], "nowhere/doses.csv: cannot be written: No such file"),
        (["-o", "people.csv/doses.csv"], "people.csv/doses.csv: cannot be written: Not a dir"),
    ],
)
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_bad_data_and_files(folder, capsys, arguments, message, stream):
    if "--cap" in arguments and stream == "--stream":
        message = "no row with a positive benefit and cap"
    assert message in refused(capsys, 1, run(*arguments, stream))
    assert names(folder) == ["people.csv"]


@pytest.mark.parametrize("value", ["", "NaN", "inf"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_bad_values(folder, capsys, value, stream):
    (folder / "people.csv").write_text(ROWS.replace("009,3,", f"009,{value},"))
    err = refused(capsys, 1, run(stream))
    assert f"'uplift' has 1 {'infinite' if value == 'inf' else 'missing'} value (" in err
    assert "(first: line 4" in err
    assert ("in group 2" in err) == (stream == "--stream")
    assert names(folder) == ["people.csv"]


def test_unreadable_input(folder, capsys):
    assert "nobody.csv: No such file" in refused(capsys, 1, run(table="nobody.csv"))
    assert "people.txt: unknown kind of file" in refused(capsys, 2, run(table="people.txt"))
    (folder / "broken.parquet").write_text("this is no Parquet file, whatever its name says")
    refused(capsys, 1, run(table="broken.parquet"))
    (folder / "folder.csv").mkdir()
    refused(capsys, 1, run(table="folder.csv"))
    (folder / "empty.csv").write_text("")
    refused(capsys, 1, run(table="empty.csv"))
    assert names(folder) == ["broken.parquet", "empty.csv", "folder.csv", "people.csv"]


def test_nothing_is_overwritten_unless_forced(folder, capsys):
    (folder / "people_doses.csv").write_text("precious")
    assert "people_doses.csv: exists already: choose" in refused(capsys, 1, run())
    assert (folder / "people_doses.csv").read_text() == "precious"
    refused(capsys, 1, run("--force", "--benefit", "uplif"))
    assert (folder / "people_doses.csv").read_text() == "precious"
    assert run("--force") == 0
    assert (folder / "people_doses.csv").read_text() != "precious"
    capsys.readouterr()
    (folder / "folder.csv").mkdir()
    assert "folder.csv: is a folder" in refused(capsys, 1, run("--force", "-o", "folder.csv"))


def test_failure_while_writing_leaves_nothing(folder, monkeypatch, capsys):
    def full_disk(pl, frame, path, what, **options):
        path.write_text("half of it")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("alphafair.command.tables._write", full_disk)
    assert "No space left" in refused(capsys, 1, run())
    assert names(folder) == ["people.csv"]


def test_missing_polars(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "polars", None)  # as if it were not installed
    assert "polars is not installed: pip install 'alphafair[command]'" in refused(capsys, 1, run())


# --- as a process ---------------------------------------------------------------------------------
def process(*arguments, cwd):
    command = [sys.executable, "-m", "alphafair", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_an_output_that_has_no_greek_letters(folder):
    arguments = [sys.executable, "-m", "alphafair", "people.csv", *OPTIONS, "--alpha", "2"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(arguments, capture_output=True, cwd=folder, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"? = 2" in done.stdout


def test_process_succeeds(folder):
    done = process("people.csv", *OPTIONS, "--alpha", "2", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "doses: people_doses.csv" in done.stdout
    assert names(folder) == ["people.csv", "people_doses.csv"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_report_that_nobody_can_read_is_no_failure(folder):
    """The output is there, so that the exit code says so."""
    command = [sys.executable, "-m", "alphafair", "people.csv", *OPTIONS, "--alpha", "2"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, check=False
        )
    assert done.returncode == 0
    assert done.stderr == "alphafair: the report is not printed: No space left on device\n"
    assert names(folder) == ["people.csv", "people_doses.csv"]


def test_process_fails_with_its_code(folder):
    done = process("people.csv", *options("--alpha", "2", "--group", "none"), cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("alphafair: error: group column 'none' is not in the frame")
    assert process("people.csv", cwd=folder).returncode == 2
    assert names(folder) == ["people.csv"]


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "alphafair people.csv --benefit uplift" in capsys.readouterr().out
