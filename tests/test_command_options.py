"""What can be asked of the command: several treatments, several α, weights, reports."""

import json
import re
import shlex

import numpy as np
import polars as pl
import pytest

import alphafair as af
from alphafair.command import main

PEOPLE = """\
id,uplift,price,district,loan,grant,room,have,size
1,2.0,1,north,3,4,1,0.5,3
2,1.5,1,south,2,5,2,0,1
3,3,2,north,1,1,1,1,3
4,1,1,south,2,2,1,0.25,1
5,0.5,3,north,4,1,0.5,0,3
"""
LONG = {"--benefit": "uplift", "--cost": "price", "--group": "district", "--budget": "10"}
WIDE = ["--benefit", "loan", "--benefit", "grant", "--group", "district", "--budget", "10"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text(PEOPLE)
    return tmp_path


@pytest.fixture
def table():
    return pl.read_csv(PEOPLE.encode())


def long(*arguments):
    given = [text for pair in LONG.items() if pair[0] not in arguments for text in pair]
    alpha = [] if "--alpha" in arguments else ["--alpha", "2"]
    return main(["people.csv", *given, *alpha, "-o", "out.csv", "--force", *arguments])


def wide(*arguments):
    return main(["people.csv", *WIDE, "--alpha", "2", "-o", "out.csv", "--force", *arguments])


def doses(*names):
    return pl.read_csv("out.csv").sort("id").select(names).to_numpy()


def refused(capsys, code, got):
    out, err = capsys.readouterr()
    assert (got, out) == (code, "")
    assert re.fullmatch(r"alphafair: error: .+\n", err), err
    return err


# --- several treatments in columns --------------------------------------------------------------
@pytest.mark.parametrize("within", [0, 0.5, 2])
@pytest.mark.parametrize(
    ("options", "arrays"),
    [
        ([], {}),
        (["--cost", "2"], {"cost": [[2.0, 2.0]]}),
        (["--cost", "5", "--cost", "price"], {"cost": [5.0, "price"]}),
        (["--cap", "1"], {"cap": 1.0}),
        (["--cap", "room", "--cap", "0.5"], {"cap": ["room", 0.5]}),
        (["--cap", "room", "--floor", "0.1"], {"cap": ["room", "room"], "floor": 0.1}),
        (["--baseline", "have", "--weight", "size"], {"baseline": "have", "weight": "size"}),
        (["--cap", "1", "--exclusive"], {"cap": 1.0, "exclusive": True}),
        (
            ["--cap", "room", "--exclusive", "--cost", "5", "--cost", "8", "--baseline", "0.5"],
            {"cap": ["room", "room"], "exclusive": True, "cost": [[5.0, 8.0]], "baseline": 0.5},
        ),
        (["--group-floor", "north=7"], {"group_floor": {"north": 7, "south": 0}}),
    ],
)
def test_a_column_a_treatment(folder, table, within, options, arrays):
    """The array problem with as many columns."""

    def array(value):
        if isinstance(value, list) and isinstance(value[0], list):
            return np.array(value)
        if isinstance(value, list):
            parts = [table[v].to_numpy() if isinstance(v, str) else np.full(5, v) for v in value]
            return np.stack(parts, axis=1)
        return table[value].to_numpy() if value == "have" else value

    given = {name: array(value) for name, value in arrays.items()}
    cost = given.pop("cost", 1.0)
    benefit = table.select("loan", "grant").to_numpy()
    expected = af.allocate(benefit, cost, table["district"], 10, 2, within=within, **given).dose
    assert wide("--within", str(within), *options) == 0
    np.testing.assert_allclose(doses("dose_loan", "dose_grant"), expected, rtol=1e-12, atol=1e-15)


def test_columns_of_parquet(folder, table, capsys):
    table.write_parquet("people.parquet")
    call = [*WIDE, "--alpha", "2", "--cap", "room"]
    assert main(["people.parquet", *call, "-o", "out.csv"]) == 0
    got = doses("dose_loan", "dose_grant")
    assert wide("--cap", "room") == 0
    np.testing.assert_array_equal(got, doses("dose_loan", "dose_grant"))
    capsys.readouterr()
    table.with_columns(grant=pl.lit("much")).write_parquet("text.parquet")
    err = refused(capsys, 1, main(["text.parquet", *call]))
    assert "benefit column 'grant' is of type String: must hold real numbers" in err


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        (
            "2,1.5,1,south,2,5",
            "2,1.5,1,south,2,",
            [],
            "'grant' has 1 missing value (first: line 3)",
        ),
        ("2,1.5,1,south,2,5", "2,1.5,1,south,2,x", [], "line 3: column 'grant' holds 'x'"),
        ("2,1.5,1,south,2,5", "2,1.5,1,south,2,inf", [], "benefit grant, line 3, is inf"),
        ("3,3,2,north", "3,3,-2,north", ["--cost", "price"], "cost price, line 4, is -2.0"),
        ("3,3,2,north", '3,3,2,""', [], "group column 'district' has 1 missing value (first: line"),
        (
            "5,0.5,3,north,4,1,0.5",
            "5,0.5,3,north,4,1,-1",
            ["--cap", "room"],
            "cap room, line 6, is",
        ),
        ("2,0,1\n3", "2,-4,1\n3", ["--baseline", "have"], "baseline have, line 3, is -4.0"),
        ("id", "id", ["--cap", "rom"], "cap column 'rom' is not in the table"),
        ("id", "dose_loan", [], "the table has a column 'dose_loan' already"),
        (
            "4,1,1,south,2,2",
            "4,1,1,south,0,-2",
            ["--within", "2"],
            "line 5 (group south) has no po",
        ),
    ],
)
def test_what_is_wrong_in_columns(folder, capsys, old, new, options, message):
    (folder / "people.csv").write_text(PEOPLE.replace(old, new, 1))
    assert message in refused(capsys, 1, wide(*options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--cost", "1"] * 3,
            "--cost is given 3 times: must be once, for all benefits, or 2 times",
        ),
        (["--cap", "room"] * 3, "--cap is given 3 times"),
        (["--person", "id"], "--person with several --benefit: each row is a person"),
        (["--treatment", "id"], "--treatment with several --benefit: each row is a person"),
        (["--benefit", "loan"], "--benefit loan is given twice"),
        (["--stream"], "several --benefit needs the table in memory"),
        (["--cost", "loan"], "--benefit and --cost are both the column 'loan'"),
        (["--exclusive"], "--exclusive shares a person's room between treatments: add --cap"),
        (["--group", "price"], "argument --group: is given twice"),
    ],
)
def test_wrong_calls_of_columns(folder, capsys, options, message):
    assert message in refused(capsys, 2, wide(*options))


# --- streams ------------------------------------------------------------------------------------
@pytest.mark.parametrize("within", ["0", "0.5", "2", "inf"])
@pytest.mark.parametrize(
    "bounds",
    [
        ["--cap", "room"],
        ["--cap", "2", "--floor", "0.25"],
        ["--baseline", "have"],
        ["--cap", "room", "--baseline", "have", "--group-cap", "north=3"],
        ["--person", "size", "--group", "place", "--cap", "room", "--exclusive"],
        ["--person", "size", "--group", "place", "--treatment", "id", "--cap", "1"],
    ],
)
def test_bounds_are_the_same_in_streams(folder, capsys, within, bounds):
    text = PEOPLE.replace("\n", ",a\n").replace("size,a", "size,place")
    (folder / "people.csv").write_text(text)
    budget = ["--budget", "4", "--within", within]
    assert long(*budget, *bounds, "--report", "held.json", "--no-stream") == 0
    expected, held = doses("dose"), json.loads((folder / "held.json").read_text())
    assert long(*budget, *bounds, "--report", "streamed.json", "--stream") == 0
    streamed = json.loads((folder / "streamed.json").read_text())
    np.testing.assert_allclose(doses("dose"), expected, rtol=1e-11, atol=1e-11)
    assert (held["in_memory"], streamed["in_memory"]) == (True, False)
    for name in ("price", "welfare", "spent"):
        one, other = (found["results"][0][name] for found in (held, streamed))
        assert one == pytest.approx(other, rel=1e-10), name


# --- several α ----------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("within", ["0", "0.5"])
@pytest.mark.parametrize("bound", [[], ["--group-cap", "north=0"], ["--budget", "0"]])
def test_several_alphas(folder, stream, within, bound):
    """Each of them as if it were alone."""
    alphas = ["0", "0.5", "2", "inf"]
    options = ["--within", within, stream, *bound]
    assert long(*options, *(text for a in alphas for text in ("--alpha", a))) == 0
    got = doses(*(f"dose_alpha_{a}" for a in alphas))
    for j, alpha in enumerate(alphas):
        assert long(*options, "--alpha", alpha) == 0
        np.testing.assert_allclose(got[:, j], doses("dose")[:, 0], rtol=1e-12, atol=1e-300)


def test_several_alphas_with_caps_and_columns(folder):
    assert wide("--cap", "1", "--alpha", "0") == 0
    names = [f"dose_{t}_alpha_{a}" for a in ("2", "0") for t in ("loan", "grant")]
    got = doses(*names)
    assert wide("--cap", "1") == 0
    np.testing.assert_array_equal(got[:, :2], doses("dose_loan", "dose_grant"))
    assert long("--cap", "room", "--alpha", "1", "--alpha", "inf") == 0
    got = doses("dose_alpha_1", "dose_alpha_inf")
    assert long("--cap", "room", "--alpha", "inf") == 0
    np.testing.assert_array_equal(got[:, 1:], doses("dose"))


def test_the_same_alpha_twice_is_one(folder):
    assert long("--alpha", "1", "--alpha", "1.0") == 0
    assert pl.read_csv("out.csv").columns[-1] == "dose"


def test_a_report_for_each_alpha(folder, capsys):
    assert long("--alpha", "0", "--alpha", "inf") == 0
    out = capsys.readouterr().out
    assert "α = 0; one more unit" in out
    assert "α = inf; one more unit" in out


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_frontier(folder, table, capsys, stream):
    assert long("--frontier", "--report", "r.json", "--within", "1", stream) == 0
    assert "what equality costs:\nFrontier(A=61, K=2)" in capsys.readouterr().out
    got = json.loads((folder / "r.json").read_text())["frontier"]
    problem = af.Problem(table["uplift"], table["price"], table["district"], 10, within=1)
    expected = af.frontier(problem)
    np.testing.assert_allclose(got["gini"], expected.gini, atol=1e-14)
    np.testing.assert_allclose(got["mean_utility"], expected.mean_utility, rtol=1e-12)
    assert got["alpha"][-1] == "inf"
    assert "budget is 0" in refused(capsys, 1, long("--frontier", "--budget", "0"))


# --- weights ------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_weights(folder, table, stream):
    (folder / "weights.csv").write_text("district,weight\nsouth,1\nnorth,3\neast,7\n")
    (folder / "bare.csv").write_text("south,1\n\nnorth,3\n")
    (folder / "people.csv").write_text(PEOPLE.replace("size\n", "times\n"))
    columns = (table[name] for name in ("uplift", "price", "district"))
    expected = af.allocate(*columns, 10, 2, weight={"north": 3, "south": 1}).dose
    for weight in ("times", "weights.csv", "bare.csv", "size"):
        if weight == "size":  # the word
            columns = (table[name] for name in ("uplift", "price", "district"))
            expected = af.allocate(*columns, 10, 2, weight="size").dose
        assert long("--weight", weight, stream) == 0
        np.testing.assert_allclose(doses("dose"), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("grant", "weight column 'grant' differs in group "),
        ("district", "--weight and --group are the same column"),
        ("weights", '--weight weights is neither "size", a column of the table, nor a file'),
        ("hav", "nor a file; did you mean 'have'?"),
        ("north.csv", "--weight north.csv has no weight for group 'south'"),
        ("twice.csv", "--weight twice.csv, line 2: group 'north' has a weight already"),
        ("zero.csv", "the weight of group 'south' is 0: must be finite and > 0"),
        ("three.csv", "--weight three.csv, line 1: must have two cells, label,weight"),
        ("word.csv", "--weight word.csv, line 2: 'x' is no number"),
        ("note", "line 4: column 'note' holds 'x', which is no number"),
    ],
)
def test_weights_that_are_none(folder, capsys, weight, message):
    for name, text in (
        ("north", "north,1\n"),
        ("twice", "north,1\nnorth,2\n"),
        ("zero", "north,1\nsouth,0\n"),
        ("three", "north,1,2\n"),
        ("word", "north,1\nsouth,x\n"),
    ):
        (folder / f"{name}.csv").write_text(text)
    (folder / "people.csv").write_text(
        PEOPLE.replace("size\n", "note\n").replace("1,3\n5", "1,3\n5").replace(",1,3\n4", ",1,x\n4")
    )
    code = 2 if weight == "district" else 1
    assert message in refused(capsys, code, long("--weight", weight))


# --- reports ------------------------------------------------------------------------------------
def test_report_as_json(folder, capsys):
    assert long("--report", "r.json", "--alpha", "inf") == 0
    content = json.loads((folder / "r.json").read_text())
    (result,) = content["results"]
    assert content["columns"] == ["dose"]
    assert content["read"] == {"separator": ",", "decimal": ".", "encoding": "utf-8"}
    assert result["alpha"] == "inf"
    assert [group["group"] for group in result["groups"]] == ["north", "south"]
    assert sum(group["budget"] for group in result["groups"]) == pytest.approx(10)
    assert result["groups"][0]["utility"] == pytest.approx(result["groups"][1]["utility"])
    assert f"adds {result['price']:.6g} welfare" in capsys.readouterr().out
    assert any("gives all its money to" in text for text in content["remarks"])
    got = main(["people.csv", *WIDE, "--alpha", "1", "-o", "new.csv", "--report", "r.json"])
    assert "r.json: exists already" in refused(capsys, 1, got)
    assert not (folder / "new.csv").exists()


def test_report_as_csv(folder):
    assert long("--report", "r.csv", "--alpha", "1", "--alpha", "inf") == 0
    table = pl.read_csv("r.csv")
    assert table.columns == ["alpha", "group", "people", "budget", "share", "utility"]
    assert table["group"].to_list() == ["north", "south"] * 2
    assert table["people"].to_list() == [3, 2] * 2
    np.testing.assert_allclose(table["budget"][:2], [5, 5])


def test_remarks(folder, capsys):
    """What a reader of the doses may not expect."""
    assert long() == 0
    out = capsys.readouterr().out
    assert "warning: without --cap and --within each group gives all its money to its single" in out
    assert "2 of 5 rows get something" in out
    assert "note: doses are fractions; use --cap and --whole" in out
    assert long("--stream") == 0
    assert "warning: without --cap and --within" in capsys.readouterr().out
    assert long("--within", "1") == 0
    assert "warning" not in capsys.readouterr().out
    assert long("--cap", "0.5") == 0
    out = capsys.readouterr().out
    assert "warning" not in out
    assert "note: doses are fractions; use --whole for whole ones" in out
    assert wide("--cap", "1", "--exclusive", "--cost", "3") == 0
    assert (
        "note: parts of offers are lotteries; use --whole for whole ones" in capsys.readouterr().out
    )
    assert long("--cap", "1", "--budget", "100") == 0  # all get one
    assert "note" not in capsys.readouterr().out


# --- the command line ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "1", "--budget", "2"], "argument --budget: is given twice"),
        (["--group", "id", "--group", "district"], "argument --group: is given twice"),
        (["--within", "1", "--within", "1"], "argument --within: is given twice"),
        (["--weight", "size", "--weight", "size"], "argument --weight: is given twice"),
        (["--person", "district"], "--group and --person are both the column 'district': leave"),
        (["--group", "uplift"], "--group and --benefit are both the column 'uplift'"),
        (["--cost", "uplift"], "--benefit and --cost are both the column 'uplift'"),
        (["--cost", "1", "--cost", "2"], "--cost is given 2 times: must be once"),
        (["--unit", "1"], "--unit is the size of whole doses: add --whole"),
        (["--whole"], "--whole makes each dose 0 or its cap: add --cap, or --unit"),
        (["--cap", "1", "--exclusive"], "--exclusive: each row is a person with one treatment"),
        (["--separator", "ab"], "'ab' is not one ASCII character, or tab"),
        (["--encoding", "klingon"], "'klingon' is no encoding that Python knows"),
        (["--decimal", ";"], "argument --decimal: invalid choice"),
        (["--bud", "1"], "unrecognized arguments: --bud 1"),
    ],
)
def test_wrong_calls(folder, capsys, options, message):
    assert message in refused(capsys, 2, long(*options))


def test_a_column_whose_name_is_a_number(folder, capsys):
    (folder / "people.csv").write_text(PEOPLE.replace("price", "2020"))
    err = refused(capsys, 2, long("--cost", "2020"))
    assert "--cost 2020 is a number and a column: write column:2020 for the column" in err
    assert long("--cost", "column:2020") == 0
    (folder / "people.csv").write_text(PEOPLE)
    got = doses("dose")
    assert long() == 0
    np.testing.assert_array_equal(got, doses("dose"))


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"alphafair {af.__version__}\n"


def examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out.replace("\\\n", "")
    return text, re.findall(r"^  alphafair (.*)$", text, re.MULTILINE)


def test_the_examples_of_the_help_run(folder, capsys, monkeypatch):
    text, found = examples(capsys)
    assert len(found) == 5
    for code in ("0 ", "1 ", "2 ", "128+n"):
        assert re.search(rf"^  {re.escape(code)}", text, re.MULTILINE)
    for example in found:
        if "<" in example:
            example = example.replace(" < people.csv", "").replace("-", "people.csv", 1)
        (folder / "people_doses.csv").unlink(missing_ok=True)
        assert main(shlex.split(example)) == 0, (example, capsys.readouterr().err)


# --- a row a treatment --------------------------------------------------------------------------
OFFERS = """\
who,uplift,price,district,what,most
x,3,1,n,loan,1
x,4,2,n,grant,1
y,2,1,s,loan,2
z,1,1,s,loan,1
z,1,1,s,grant,1
"""
OFFERED = {
    "benefit": [[3.0, 4], [2, 0], [1, 1]],
    "cost": [[1.0, 2], [1, 1], [1, 1]],
    "group": ["n", "s", "s"],
    "cap": [[1.0, 1], [2, 1], [1, 1]],  # y has no second offer: its benefit is 0
}
PERSONS = ["--person", "who", "--cap", "most", "--budget", "3"]


@pytest.mark.parametrize("within", [0, 0.5])
def test_exclusive_offers(folder, within):
    """Rows of a person: the array problem with her offers in a row."""
    (folder / "people.csv").write_text(OFFERS)
    expected = af.allocate(**OFFERED, budget=3, alpha=2, within=within, exclusive=True).dose
    assert long(*PERSONS, "--exclusive", "--within", str(within)) == 0
    got = pl.read_csv("out.csv")["dose"].to_numpy().copy()
    assert got[:2] @ [1, 1] <= 1 + 1e-12
    rows = expected[[0, 0, 1, 2, 2], [0, 1, 0, 0, 1]]
    if within == 0:  # z's two offers tie
        got[3], rows[3], got[4], rows[4] = got[3] + got[4], rows[3] + rows[4], 0, 0
    np.testing.assert_allclose(got, rows, rtol=1e-12)


def test_offers_that_repeat(folder, capsys):
    """The column that tells offers apart need not be named; offers that are the same are told."""
    (folder / "people.csv").write_text(OFFERS)
    assert long(*PERSONS) == 0
    capsys.readouterr()
    (folder / "people.csv").write_text(OFFERS.replace("s,grant", "s,loan"))
    assert "(line 5 and line 6)" in refused(capsys, 1, long(*PERSONS))
    assert "(line 5 and line 6)" in refused(capsys, 1, long(*PERSONS, "--treatment", "what"))


# --- whole doses --------------------------------------------------------------------------------
@pytest.mark.parametrize("within", [0, 0.5])
def test_whole_doses_of_rows(folder, table, within, capsys):
    arguments = (table["uplift"], table["price"], table["district"], 4, 2)
    expected = af.allocate(*arguments, within=within, cap=table["room"]).whole()
    options = ["--budget", "4", "--within", str(within)]
    assert long(*options, "--cap", "room", "--whole", "--report", "r.json") == 0
    np.testing.assert_array_equal(doses("dose"), expected.dose)
    assert np.isin(doses("dose")[:, 0], [0, *table["room"]]).all()
    out = capsys.readouterr().out
    money = [float(line.split()[2]) for line in out.splitlines()[1:3]]
    np.testing.assert_allclose(money, expected.group_budget)
    assert f"left over: {expected.money_left:.6g}, with whole doses; any plan needs at least" in out
    assert "fractions" not in out
    (told,) = json.loads((folder / "r.json").read_text())["whole"]
    assert told["relative_gap"] == pytest.approx(expected.relative_gap)
    expected = af.allocate(*arguments, within=within, cap=np.inf).whole(0.5)
    assert long(*options, "--whole", "--unit", "0.5") == 0
    np.testing.assert_array_equal(doses("dose"), expected.dose)
    assert (doses("dose") % 0.5 == 0).all()


def test_whole_doses_of_persons_and_columns(folder):
    (folder / "people.csv").write_text(OFFERS)
    arrays = {**OFFERED, "budget": 3, "alpha": 2, "exclusive": True}
    expected = af.allocate(**arrays).whole().dose
    assert long(*PERSONS, "--exclusive", "--whole") == 0
    got = pl.read_csv("out.csv")["dose"].to_numpy()
    np.testing.assert_array_equal(got, expected[[0, 0, 1, 2, 2], [0, 1, 0, 0, 1]])
    (folder / "people.csv").write_text(PEOPLE)
    assert wide("--cap", "1", "--exclusive", "--whole", "--alpha", "0") == 0
    names = [f"dose_{t}_alpha_{a}" for a in ("2", "0") for t in ("loan", "grant")]
    got = doses(*names)
    assert np.isin(got, [0, 1]).all()
    assert (got[:, :2].sum(axis=1) <= 1).all()
    assert got[:, :2].sum() <= 10
