"""The command and its files: what is there before and after, whatever happens in between."""

import os
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import polars.testing
import pytest

from alphafair.command import main

CALL = ["--benefit", "u", "--group", "g", "--budget", "10", "--alpha", "2"]
OLD = "what was there before\n"
SMALL = "u,g\n1,a\n1,b\n"
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and modes of POSIX")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in that holds only t.csv."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(SMALL)
    return tmp_path


@pytest.fixture(autouse=True)
def a_hang_up_ends_what_is_started():
    """Also where the tests themselves run under nohup: children inherit what is ignored."""
    if os.name != "posix":
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def command(*arguments):
    return [sys.executable, "-m", "alphafair", *arguments]


def one_line(text, begin="alphafair: error: "):
    assert re.fullmatch(rf"{begin}.+\n", text), text


# --- signals ------------------------------------------------------------------------------------
def large(folder, rows=60_000):
    """A table that takes a moment."""
    numbers = pl.int_range(rows, eager=True)
    table = pl.DataFrame({"u": (numbers * 7919 % 997 + 1) / 97, "g": numbers % 11})
    table.write_csv(folder / "t.csv")


def begun(process):
    """Wait until the process answers signals; False if it has ended before."""
    mask = 1 << signal.SIGHUP - 1
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status") as status:
            caught = re.search(r"SigCgt:\s*(\w+)", status.read())
        if caught and int(caught[1], 16) & mask:
            return True
        time.sleep(0.002)
    return False


def started(*arguments):
    return subprocess.Popen(
        command("t.csv", *CALL, "--within", "0.5", *arguments),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stopped_at_any_moment(folder, number):
    """Ten moments: the old output, or the whole new one; nothing else; one line."""
    large(folder)
    process = started("-o", "new.csv")
    assert begun(process)
    start = time.perf_counter()
    process.communicate()
    duration = time.perf_counter() - start
    whole = pl.read_csv("new.csv")
    (folder / "new.csv").unlink()
    draw, stopped = random.Random(int(number)), 0
    for moment in range(10):
        (folder / "out.csv").write_text(OLD)
        process = started("-o", "out.csv", "--force")
        assert begun(process)
        time.sleep(duration * draw.random() * 0.9)
        process.send_signal(number)
        out, err = process.communicate()
        assert names(folder) == ["out.csv", "t.csv"], moment
        if process.returncode == 0:  # the files had taken their places
            got = pl.read_csv("out.csv")  # threads add in any order
            pl.testing.assert_frame_equal(got, whole, rel_tol=1e-12)
            continue
        stopped += 1
        assert process.returncode == 128 + number
        assert (out, err) == ("", f"alphafair: stopped by {number.name}: nothing is written\n")
        assert (folder / "out.csv").read_text() == OLD
    assert stopped >= 3


@POSIX
def test_a_hang_up_that_is_ignored_stays_ignored(folder):
    """As under nohup."""
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from alphafair.command import run, main\n"
        "import os; take = run.open_table\n"
        "def hang_up(*given):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return take(*given)\n"
        "run.open_table = hang_up\n"
        f"sys.argv[1:] = ['t.csv', *{CALL}]\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(folder) == ["t.csv", "t_doses.csv"]


@POSIX
@pytest.mark.parametrize(
    ("where", "code", "told"),
    [
        ("write", 143, "alphafair: stopped by SIGTERM: nothing is written\n"),
        ("_replace", 0, ""),  # in the midst of it: too late
        ("_tell", 0, "alphafair: stopped by SIGTERM: the doses are written, but the report is"),
    ],
)
def test_before_and_after_the_point_of_no_return(folder, where, code, told):
    (folder / "out.csv").write_text(OLD)
    room = "workshop" if where == "_replace" else "run"
    program = (
        "import os, signal, sys, time\n"
        f"from alphafair.command import {room} as room, main\n"
        f"then = room.{where}\n"
        "def stop(*given):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.5)\n"
        "    return then(*given)\n"
        f"room.{where} = stop\n"
        f"sys.argv[1:] = ['t.csv', *{CALL}, '-o', 'out.csv', '--force']\n"
        "raise SystemExit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == bool(told)
    assert names(folder) == ["out.csv", "t.csv"]
    assert ((folder / "out.csv").read_text() == OLD) == (code != 0)


def test_a_program_that_calls_the_command_keeps_its_signals(folder, monkeypatch):
    """An interrupt is its own affair; the files are as when the process ends by one."""
    from alphafair.command import run

    def interrupted(*_):
        assert signal.getsignal(signal.SIGINT) is before
        assert len(names(folder)) == 2  # the workshop is there
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(run, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["t.csv", *CALL])
    assert names(folder) == ["t.csv"]


@POSIX
def test_after_a_kill_the_next_run_succeeds(folder):
    """What a killed run leaves behind is in nobody's way."""
    large(folder)
    for moment in (0.0, 0.05, 0.1):
        process = started("-o", "out.csv")
        assert begun(process)
        time.sleep(moment)
        process.kill()
        process.communicate()
        (folder / "out.csv").unlink(missing_ok=True)
    done = subprocess.run(
        command("t.csv", *CALL, "-o", "out.csv"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- what is there already ----------------------------------------------------------------------
@POSIX
def test_force_keeps_the_mode_and_writes_through_links(folder):
    (folder / "far").mkdir()
    target = folder / "far" / "target.csv"
    target.write_text(OLD)
    target.chmod(0o600)
    (folder / "out.csv").symlink_to("far/target.csv")
    assert main(["t.csv", *CALL, "-o", "out.csv", "--force"]) == 0
    assert (folder / "out.csv").is_symlink()
    assert target.read_text().startswith("u,g,dose\n1,a,5.0\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (names(folder), names(folder / "far")) == (["far", "out.csv", "t.csv"], ["target.csv"])


@POSIX
def test_a_new_file_has_the_usual_mode(folder):
    before = os.umask(0o027)
    try:
        assert main(["t.csv", *CALL]) == 0
        assert main(["t.csv", *CALL, "-o", "zipped.csv.gz", "--report", "r.json"]) == 0
    finally:
        os.umask(before)
    for name in ("t_doses.csv", "zipped.csv.gz", "r.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o640, name


@POSIX
def test_links_and_devices_are_not_replaced(folder, capsys):
    (folder / "out.csv").symlink_to("nowhere.csv")  # a link to nothing is something
    assert main(["t.csv", *CALL, "-o", "out.csv"]) == 1
    assert "out.csv: exists already" in capsys.readouterr().err
    os.mkfifo(folder / "pipe.csv")
    assert main(["t.csv", *CALL, "-o", "pipe.csv", "--force"]) == 1
    assert "pipe.csv: is no ordinary file" in capsys.readouterr().err
    assert names(folder) == ["out.csv", "pipe.csv", "t.csv"]


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("taken", ["t_doses.csv", "r.json"])
def test_what_appears_in_the_meantime_is_not_overwritten(folder, monkeypatch, capsys, link, taken):
    """Also where the file system has no links."""
    from alphafair.command import run

    take = run.write

    def write(*given):
        (folder / taken).write_text(OLD)
        return take(*given)

    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(run, "write", write)
    if not link:
        monkeypatch.setattr(os, "link", no_links)
    assert main(["t.csv", *CALL, "--report", "r.json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    one_line(err)
    assert f"{taken}: exists already" in err
    assert (folder / taken).read_text() == OLD
    assert names(folder) == sorted(["t.csv", taken])  # neither of the two without the other
    monkeypatch.setattr(run, "write", take)
    assert main(["t.csv", *CALL, "-o", "free.csv"]) == 0
    assert (folder / "free.csv").read_text().startswith("u,g,dose")


def test_of_two_runs_at_once_one_wins(folder):
    large(folder, 2000)
    runs = [started("-o", "out.csv") for _ in range(2)]
    ends = [(process.communicate(), process.returncode) for process in runs]
    assert sorted(code for _, code in ends) == [0, 1]
    (lost,) = [err for (_, err), code in ends if code == 1]
    one_line(lost)
    assert "out.csv: exists already" in lost
    assert names(folder) == ["out.csv", "t.csv"]


@POSIX
@pytest.mark.parametrize("kind", ["csv", "parquet", "csv.gz"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_full_disk(folder, kind, stream):
    """A file may not grow beyond a limit, as on a full disk."""
    large(folder)
    out = f"out.{kind}"
    (folder / out).write_text(OLD)
    limit = 4096
    program = (
        "import resource, sys\n"
        "from alphafair.command import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"raise SystemExit(main(['t.csv', *{CALL}, '--within', '0.5', '-o', {out!r}, '--force', "
        f"{stream!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    one_line(done.stderr)
    assert "File too large" in done.stderr or (kind == "parquet" and "transport" in done.stderr)
    assert (folder / out).read_text() == OLD
    assert names(folder) == [out, "t.csv"]


# --- the output and the input -------------------------------------------------------------------
def test_the_output_is_not_the_input(folder, capsys):
    (folder / "same.csv").hardlink_to("t.csv")
    for other in ("./t.csv", "same.csv"):
        assert main(["t.csv", *CALL, "-o", other, "--force"]) == 2
        assert "is the input: choose another output" in capsys.readouterr().err
    (folder / "many").mkdir()
    assert main(["many", *CALL, "-o", "many/out.csv"]) == 2
    assert "many/out.csv would be part of the input" in capsys.readouterr().err
    assert main(["t.csv", *CALL, "--report", "t.csv", "--force"]) == 2
    assert "t.csv is the table: choose another --report" in capsys.readouterr().err
    assert main(["t.csv", *CALL, "--report", "r.txt"]) == 2
    assert "r.txt: the report must end in .json or .csv" in capsys.readouterr().err
    assert (folder / "t.csv").read_text() == SMALL


# --- standard input and output ------------------------------------------------------------------
def piped(data, *arguments):
    return subprocess.run(command(*arguments), input=data, capture_output=True, check=False)


def test_standard_input_and_output(folder):
    """The doses to one stream, the report to the other."""
    done = piped(b"u;g\r\n1,5;a\r\n1,5;b\r\n", "-", *CALL)
    assert done.returncode == 0
    assert done.stdout == b"u;g;dose\r\n1,5;a;5,0\r\n1,5;b;5,0\r\n"
    assert b"separator semicolon, decimal comma" in done.stderr
    assert done.stderr.endswith(b"doses: standard output\n")
    done = piped(SMALL.encode(), "-", *CALL, "-o", "out.csv")
    assert done.stderr == b""
    assert done.stdout.endswith(b"doses: out.csv\n")
    done = piped(b"", "t.csv", *CALL, "-o", "-")
    assert done.stdout == b"u,g,dose\n1,a,5.0\n1,b,5.0\n"
    done = piped(b"u,g\n", "-", *CALL)
    assert (done.returncode, done.stdout) == (1, b"")
    assert names(folder) == ["out.csv", "t.csv"]


def test_standard_input_may_be_parquet_or_compressed(folder):
    import gzip

    pl.read_csv("t.csv").write_parquet("t.parquet")
    done = piped((folder / "t.parquet").read_bytes(), "-", *CALL)
    assert pl.read_parquet(done.stdout)["dose"].to_list() == [5, 5]
    done = piped(gzip.compress(SMALL.encode()), "-", *CALL)
    assert done.stdout.startswith(b"u,g,dose")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_standard_output_that_is_full(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("t.csv", *CALL, "-o", "-"), stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "alphafair: error: standard output: No space left on device\n"


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
@pytest.mark.parametrize("output", ["out.csv", "-"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_report_on_another_file_system(folder, output, force):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as far:
        if os.stat(far).st_dev == os.stat(folder).st_dev:
            pytest.skip("this one is the same")
        if force:
            Path(far, "r.csv").write_text(OLD)
        done = piped(b"", "t.csv", *CALL, "-o", output, "--report", f"{far}/r.csv", *force)
        assert done.returncode == 0, done.stderr
        assert Path(far, "r.csv").read_text().startswith("alpha,group,people")
        assert os.listdir(far) == ["r.csv"]


# --- several files ------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_a_folder_of_files(folder, capsys, kind, stream):
    """In the order of their names; what begins with _ or . or is no table is left alone."""
    (folder / "many").mkdir()
    for name, rows in (("b[1]", "1,c\n1,d\n"), ("a", "1,a\n1,b\n")):
        table = pl.read_csv(f"u,g\n{rows}".encode())
        getattr(table, f"write_{kind}")(folder / "many" / f"{name}.{kind}")
    for name in ("_SUCCESS", ".hidden.csv", "readme.md"):
        (folder / "many" / name).write_text("no table")
    assert main(["many", *CALL, stream]) == 0
    read = getattr(pl, f"read_{kind}")
    got = read(f"many_doses.{kind}").sort("g")
    assert got["g"].to_list() == [*"abcd"]
    assert got["dose"].to_list() == [2.5] * 4
    assert main(["many", *CALL]) == 1
    assert f"many_doses.{kind}: exists already" in capsys.readouterr().err
    assert main([f"many/?.{kind}", *CALL, "--glob", "-o", f"some.{kind}"]) == 0
    assert read(f"some.{kind}")["g"].to_list() == [*"ab"]
    assert names(folder) == ["many", f"many_doses.{kind}", f"some.{kind}", "t.csv"]


def test_folders_that_are_no_table(folder, capsys):
    many = folder / "many"
    many.mkdir()
    call = ["many", *CALL]

    def error(*arguments):
        assert main([*arguments]) in (1, 2)
        return capsys.readouterr().err

    assert "many: is a folder without tables" in error(*call)
    (many / "a.csv").write_text(SMALL)
    (many / "b.csv").write_text("u,h\n1,a\n")
    assert "many/b.csv has the columns ['u', 'h'] and many/a.csv ['u', 'g']" in error(*call)
    (many / "b.csv").write_text("u;g\n1,5;a\n")
    (many / "a.csv").write_text("u;g\n1.5;a\n")
    assert "many/b.csv has another decimal sign than many/a.csv" in error(*call)
    (many / "b.csv").write_text("u,g\n1,a\n\n1,\n")
    assert "(first: many/b.csv line 4)" in error(*call)
    pl.read_csv("t.csv").write_parquet(many / "b.csv")
    assert "many/b.csv is of another kind than many/a.csv" in error(*call)
    assert "fits no file" in error("x*.csv", *CALL, "--glob", "-o", "out.csv")
    assert "--glob: say where the doses go" in error("*.csv", *CALL, "--glob")
    assert "t*.csv: No such file" in error("t*.csv", *CALL)
    assert names(folder) == ["many", "t.csv"]


def test_encodings_may_differ_between_files(folder):
    (folder / "many").mkdir()
    (folder / "many" / "a.csv").write_bytes("u,g\n1,é\n".encode("utf-16"))
    (folder / "many" / "b.csv").write_bytes("u,g\n1,é\n1,ü\n".encode())
    assert main(["many", *CALL[:-1], "1", "-o", "out.csv"]) == 0
    text = (folder / "out.csv").read_text(encoding="utf-16")
    assert text == "u,g,dose\n1,é,5.0\n1,é,0.0\n1,ü,5.0\n"


@POSIX
def test_paths_that_lead_nowhere(folder, capsys):
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "empty").mkdir()

    def error(*arguments):
        assert main([*arguments]) == 1
        err = capsys.readouterr().err
        one_line(err)
        return err

    assert "loop.csv: Too many levels of symbolic links" in error("loop.csv", *CALL)
    assert "loop.csv: exists already" in error("t.csv", *CALL, "-o", "loop.csv")
    assert "loop.csv" in error("t.csv", *CALL, "-o", "loop.csv", "--force")
    os.chdir("empty")
    assert "is a folder without tables" in error("", *CALL)
    assert "No such file" in error("nothing.csv", *CALL)
    assert (names(folder), names(folder / "empty")) == (["empty", "loop.csv", "t.csv"], [])
