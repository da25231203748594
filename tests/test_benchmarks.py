"""The 18 benchmarks: what is asked, which rows are read and from where, and what is told."""

import csv
import json
import os
import subprocess
import sys

import made
import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import ROOT, SHARED
from test_hub import serve

from common import hub
from data import benchmarks
from data import items as testsets
from data.benchmarks import BENCHMARKS, STUDY, TOY, few_shot, prompt
from data.items import load

REAL = SHARED / "benchmarks"
BOX = " Make sure to put the answer (and only answer) inside \\boxed{}."
MATH = "Solve the following math problem." + BOX
PAPER = {  # the instructions that the paper gives
    "gsm8k": MATH, "math_500": MATH, "aime": MATH, "mmlu_math": MATH, "mmlu_pro_math": MATH,
    "aqua_rat": MATH,
    "winogrande": "Given a sentence with a blank (_) and two possible options, choose the option"
    " that correctly fills the blank so that the sentence makes the most logical sense." + BOX,
    "openbookqa": "Select the option that best completes the scenario based on everyday reasoning"
    " about cause and effect." + BOX,
    "squad": "Read the passage and answer the question by selecting the text span from the passage"
    " that best answers it." + BOX,
    "coqa": "Read the passage and answer the question by selecting the text span from the passage"
    " that best answers it." + BOX,
    "mmlu_misc": "Answer the following multiple-choice question by selecting the option that best"
    " fits the correct knowledge." + BOX,
    "ifeval": "Answer the following instruction.",
}  # fmt: skip
FAMILIES = {
    "general-mc": ["winogrande", "openbookqa", "mmlu_misc"],
    "general-oe": ["squad", "coqa", "ifeval"],
    "math-mc": ["aqua_rat", "mmlu_math", "mmlu_pro_math"],
    "math-oe": ["gsm8k", "math_500", "aime"],
    "law-mc": ["mmlu_pro_law"], "law-oe": ["consumer_qa"],
    "code-mc": ["mmlu_pro_code"], "code-oe": ["c_code_summarization"],
    "physics-mc": ["mmlu_pro_physics"], "physics-oe": ["scibench"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return str(made.write_rows(tmp_path / "rows"))


# ---- what is asked --------------------------------------------------------------------------


def test_the_18_and_their_families():
    assert len(STUDY) == 18 and len(TOY) == 4
    found = {f: [n for n in STUDY if BENCHMARKS[n].family == f] for f in benchmarks.TASK_FAMILIES}
    assert found == FAMILIES


@pytest.mark.parametrize("name", STUDY)
def test_the_prompt_is_the_instruction_a_blank_line_and_the_question(name, folder):
    row = load(name, folder)[0].row
    text = prompt(name, row)
    instruction, _, question = text.partition("\n\n")
    assert instruction == PAPER.get(name, instruction) and question
    assert instruction.endswith(BOX) or name == "ifeval"
    options = BENCHMARKS[name].options(row)
    assert all(f"\n{mark}) {o}" in text for mark, o in zip("ABCDEFGHIJ", options, strict=False))
    assert ("\nA) " in text) == bool(options)
    gold = BENCHMARKS[name].gold(row)
    assert options == [] or gold in "ABCDEFGHIJ"[: len(options)]


@pytest.mark.parametrize(("name", "text"), [
    ("aqua_rat", "What is 3 + 4?\nA) 5\nB) 6\nC) 7\nD) 8\nE) 9"),
    ("winogrande", "The cup did not fit the bag as the _ was too big.\nA) bag\nB) cup"),
    ("squad",
     "Passage: The kite was made in 1921 by A. Bell in Ohio.\n\nQuestion: When was the kite"
     " made?"),
    ("scibench", "How much is half of 25 joules?\n\nGive the answer in units of $J$."),
    ("c_code_summarization", "```c\nint twice(int x) { return 2 * x; }\n```"),
    ("ifeval", "Say hello without commas, in at least 2 words."),
])  # fmt: skip
def test_the_question_in_its_layout(name, text, folder):
    assert prompt(name, load(name, folder)[0].row).partition("\n\n")[2] == text


def test_golds_are_read_out_of_their_columns(folder):
    golds = {name: [BENCHMARKS[name].gold(i.row) for i in load(name, folder)] for name in STUDY}
    assert golds["winogrande"] == ["B", "A"] and golds["openbookqa"] == ["C", "A"]
    assert golds["mmlu_misc"] == ["B", "C"] and golds["mmlu_pro_law"] == ["B", "F"]
    assert golds["gsm8k"] == ["1,200", "7"] and golds["aime"] == ["025", "36"]
    assert golds["squad"][0] == ["1921", "in 1921"] and golds["scibench"] == ["12.5", "−3,000"]
    assert golds["coqa"] == [["Ann.", "Ann", "Ann does"]] and golds["consumer_qa"] == ["Yes", "No"]


def test_coqa_asks_the_turns_with_their_history(folder):
    first, last, both = (load("coqa", folder, coqa=turns) for turns in ("first", "last", "all"))
    assert [i.id for i in first] == ["s1/1"] and [i.id for i in last] == ["s1/2"]
    assert [i.id for i in both] == ["s1/1", "s1/2"]
    text = prompt("coqa", last[0].row)
    assert text.endswith("Sunday.\n\nQ: Who has a kite?\nA: Ann.\n\nQuestion: Of which colour?")
    assert "Q: " not in prompt("coqa", first[0].row)
    assert BENCHMARKS["coqa"].gold(last[0].row) == ["red", "It is red", "red"]


def test_coqa_in_the_layout_without_further_golds():
    row = {**made.STORY, "questions": made.STORY["questions"]["input_text"]}
    del row["additional_answers"]
    assert BENCHMARKS["coqa"].gold({**row, "turn": 1}) == ["red"]
    assert prompt("coqa", row).endswith("Question: Who has a kite?")


def test_toy_items_are_asked_as_the_toy_teacher_asks_them():
    items = [item for name in TOY for item in load(name)]
    assert len(items) == 4 * testsets.TOY_ITEMS
    for name in TOY:
        row = load(name)[0].row
        assert prompt(name, row) == row["prompt"] and BENCHMARKS[name].gold(row) == row["gold"]


@pytest.mark.parametrize("name", [n for n in STUDY if n != "ifeval"])
def test_demonstrations_share_the_layout_and_are_no_items(name, folder):
    items = load(name, folder)
    demos = testsets.demonstrations(name, 1, items, folder)
    if BENCHMARKS[name].demos is None:
        items = items[1:]
    chosen = testsets.chosen(name, items[-1].row, demos, 1)
    text = few_shot(name, items[-1].row, chosen)
    assert all(
        benchmarks.body(name, d) != benchmarks.body(name, i.row) for d in demos for i in items
    )
    assert text.startswith(BENCHMARKS[name].instruction + "\n\n") and text.endswith("\nAnswer:")
    assert text.count("Question: ") == 2 and text.count("\nAnswer:") == 2
    assert "<|im_start|>" not in text
    shown = text.split("\nAnswer:")[1].split("\n\nQuestion")[0]
    gold = BENCHMARKS[name].gold(chosen[0])
    assert f"\\boxed{{{gold[0] if isinstance(gold, list) else gold}}}" in shown
    assert BENCHMARKS[name].question(items[-1].row) != BENCHMARKS[name].question(chosen[0])


def test_worked_demonstrations_carry_the_reasoning(folder):
    shown = {name: benchmarks.demonstration(name, made.ROWS[name][0]) for name in (
        "gsm8k", "math_500", "mmlu_pro_law", "aqua_rat", "winogrande", "scibench")}  # fmt: skip
    assert shown["gsm8k"] == "He has 3 * 400 = 1,200 nuts. \\boxed{1,200}"
    assert shown["math_500"] == "It is $\\boxed{\\frac{1}{6}}$."
    assert shown["mmlu_pro_law"] == "Let's think step by step. Green is one. \\boxed{B}"
    assert shown["winogrande"] == "\\boxed{B}" and shown["scibench"] == "Halve it. \\boxed{12.5}"


def test_demonstrations_of_mmlu_are_of_the_items_subject():
    demos = [row for subject in ("algebra", "logic") for row in made.mmlu(subject)]
    found = testsets.chosen("mmlu_math", {"subject": "logic"}, demos, 3)
    assert [row["subject"] for row in found] == ["logic", "logic"]
    assert len(testsets.chosen("mmlu_math", {"subject": "sets"}, demos, 3)) == 3


def test_ifeval_has_no_demonstrations_and_judges_see_the_option_text(folder):
    assert benchmarks.reference("ifeval", made.IFEVAL) is None
    assert benchmarks.reference("openbookqa", made.ROWS["openbookqa"][0]) == "C) warm"
    assert benchmarks.reference("squad", made.SQUAD) == "1921 or in 1921"


# ---- rows -----------------------------------------------------------------------------------


def test_a_larger_sample_holds_the_smaller_one_and_the_order():
    items = load("toy_add")
    few, more = (testsets.limited("toy_add", items, n, 0) for n in (20, 60))
    ids = [item.id for item in more]
    assert len(few) == 20 and len(more) == 60 and ids == sorted(ids, key=int)
    assert {i.id for i in few} < set(ids)
    assert {i.id for i in testsets.limited("toy_add", items, 20, 1)} != {i.id for i in few}
    assert testsets.limited("toy_add", items, None, 0) == items


def test_items_have_the_ids_of_their_data_where_those_are_unique(folder, tmp_path):
    assert [i.id for i in load("math_500", folder)] == ["test/1", "test/2"]
    assert [i.id for i in load("mmlu_pro_law", folder)] == ["70", "72"]  # 71 is history
    assert [i.id for i in load("gsm8k", folder)] == ["0", "1"]
    (tmp_path / "rows/aime.jsonl").write_text(2 * (json.dumps(made.ROWS["aime"][0]) + "\n"))
    assert [i.id for i in load("aime", folder)] == ["0", "1"]


@pytest.mark.parametrize(("name", "text", "told"), [
    ("gsm8k", '{"question": "x", "solution": "y"}\n',
     "gsm8k.jsonl, row 1: no answer; it has question, solution"),
    ("gsm8k", '{"question": "x", "answer": null}\n', "row 1: no answer"),
    ("gsm8k", '{"question": \n', "row 1: invalid JSON"),
    ("gsm8k", "[1]\n", "row 1: not a JSON object"),
    ("gsm8k", "", "no rows"),
    ("squad", '{"context": "x"}\n' * 9, "and 6 rows more"),
])  # fmt: skip
def test_bad_rows_are_told_by_file_and_row(name, text, told, tmp_path):
    (tmp_path / f"{name}.jsonl").write_text(text)
    with pytest.raises(hub.UserError) as error:
        load(name, str(tmp_path))
    assert told in str(error.value)


def test_missing_files_are_told_with_what_to_do(tmp_path):
    with pytest.raises(hub.UserError, match="--data-dir .* has no gsm8k.jsonl"):
        load("gsm8k", str(tmp_path))
    with pytest.raises(hub.UserError, match="not on the Hub: it is CCSD.*--ccsd"):
        load("c_code_summarization")
    with pytest.raises(hub.UserError, match="squad.demos.jsonl or squad.dev.jsonl"):
        testsets.demonstrations("squad", 3, [], str(tmp_path))
    with pytest.raises(hub.UserError, match="--data-dir .*no such file or folder"):
        load("gsm8k", str(tmp_path / "nowhere"))
    with pytest.raises(hub.UserError, match="gsm8k: openai/gsm8k: .*cannot download.*put its rows"):
        load("gsm8k")  # offline in tests


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/benchmarks here")
def test_every_real_row_is_read_and_asked():
    counts = {name: len(load(name, str(REAL))) for name in STUDY}
    lines = {name: (REAL / f"{name}.jsonl").read_bytes().count(b"\n") for name in STUDY}
    assert counts == lines
    for name in STUDY:
        items = load(name, str(REAL))
        assert len({item.id for item in items}) == len(items)
        assert all(prompt(name, item.row) for item in items)


# ---- the Hub --------------------------------------------------------------------------------


def arrow(feature):
    """A feature of hub_schemas.json as an Arrow type, as datasets writes it to Parquet."""
    if feature.get("_type") == "Sequence":
        inner = feature["feature"]
        if "_type" in inner:
            return pa.list_(arrow(inner))
        return pa.struct([(key, pa.list_(arrow(part))) for key, part in inner.items()])
    return {"string": pa.string(), "int32": pa.int32()}.get(feature.get("dtype"), pa.int64())


def as_published(name, row):
    """A row of ../shared/benchmarks in the columns of hub_schemas.json."""
    if name != "coqa":
        return row
    answers = row["answers"]
    answers = {"input_text": answers["input_text"], "answer_start": answers.get("span_start", [0]),
               "answer_end": answers.get("span_end", [0])}  # fmt: skip
    return {**row, "questions": row["questions"]["input_text"], "answers": answers}


def repositories(root):
    """Every data set in the Hub's layout, from real rows where they are; decoys beside them."""
    schemas = json.loads((REAL / "hub_schemas.json").read_text()) if REAL.is_dir() else {}
    schemas["mmlu_misc"] = schemas["mmlu_math"] = schemas.get("hendrycks_test", {})
    found = {}

    def rows_of(name, kind=""):
        file = REAL / f"{name}{kind}.jsonl"
        if file.is_file():
            return [json.loads(line) for line in file.read_text().splitlines()][:300]
        return (made.DEMOS if kind else made.ROWS).get(name, made.ROWS[name])

    def write(name, path, rows, config=""):
        source = BENCHMARKS[name].source
        folder = root / source.hub.replace("/", "--")
        found["datasets", source.hub] = folder
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".parquet"):
            features = schemas.get(name, {}).get(config or source.configs[0], {}).get("features")
            schema = features and pa.schema([(key, arrow(f)) for key, f in features.items()])
            rows = [as_published(name, row) for row in rows] if schema else rows
            rows = [{k: row[k] for k in features} for row in rows] if schema else rows
            pa.parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / path)
        elif path.endswith(".tsv"):
            with (folder / path).open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys(), delimiter="\t")
                writer.writeheader()
                writer.writerows(rows)
        else:
            (folder / path).write_text("".join(json.dumps(row) + "\n" for row in rows))

    for name, path in {
        "squad": "plain_text/validation-00000-of-00001.parquet",
        "coqa": "default/validation/0000.parquet",
        "winogrande": "winogrande_xl/validation-00000-of-00001.parquet",
        "openbookqa": "main/test-00000-of-00001.parquet",
        "aqua_rat": "raw/test-00000-of-00001.parquet",
        "gsm8k": "main/test-00000-of-00001.parquet",
        "math_500": "test.jsonl",
        "aime": "test.jsonl",
        "ifeval": "ifeval_input_data.jsonl",
        "scibench": "default/train/0000.parquet",
        "consumer_qa": "data/consumer_contracts_qa/test.tsv",
    }.items():
        write(name, path, rows_of(name))
    write("gsm8k", "socratic/test-00000-of-00001.parquet", [{"question": "decoy", "answer": "0"}])
    write("gsm8k", "main/train-00000-of-00001.parquet", rows_of("gsm8k", ".demos"))
    write("consumer_qa", "data/abercrombie/test.tsv", [{"decoy": "x"}])
    for name in ("mmlu_misc", "mmlu_math"):
        for subject in BENCHMARKS[name].source.configs:
            for split, kind in (("test", ""), ("dev", ".dev")):
                path = f"{subject}/{split}-00000-of-00001.parquet"
                write(name, path, rows_of(name, kind), subject)
    pro = [row for name in STUDY if name.startswith("mmlu_pro") for row in rows_of(name)]
    demos = [
        row for name, rows in made.DEMOS.items() if name.startswith("mmlu_pro") for row in rows
    ]
    for split, rows in (("test", pro), ("validation", demos)):
        write("mmlu_pro_law", f"data/{split}-00000-of-00001.parquet", rows)
    return found


@pytest.fixture(scope="module")
def hub_url(tmp_path_factory):
    server, asked = serve(repositories(tmp_path_factory.mktemp("hub")))
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def on_the_hub(url, home, *command):
    environment = {
        **os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip


def test_all_18_run_end_to_end_from_the_hub(hub_url, base, tmp_path):
    url, asked = hub_url
    ccsd = made.write_rows(tmp_path / "rows") / "c_code_summarization.jsonl"
    command = ("evaluate.py", base, "--out", tmp_path / "out", "--limit", 5, "--max-new", 4,
               "--ccsd", ccsd)  # fmt: skip
    result = on_the_hub(url, tmp_path / "home", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(summary["benchmarks"]) == STUDY
    assert all(part["n"] == 5 for n, part in summary["benchmarks"].items() if REAL.is_dir() and
               n != "c_code_summarization")  # fmt: skip
    assert not [name for name in asked if "socratic" in name or "abercrombie" in name]
    assert not [name for name in asked if "train" in name and "default/train" not in name]
    before = len(asked)
    again = on_the_hub(url, tmp_path / "home", *command)
    assert again.returncode == 0 and len(asked) == before  # rows and answers are there


@pytest.mark.slow
def test_demonstrations_come_from_the_hub(hub_url, base, tmp_path):
    command = ("evaluate.py", base, "--out", tmp_path / "out", "--limit", 1, "--max-new", 4,
               "--shots", 1, "--benchmarks", "gsm8k,mmlu_math,mmlu_pro_law,scibench")  # fmt: skip
    result = on_the_hub(hub_url[0], tmp_path / "home", *command)
    assert result.returncode == 0, result.stdout + result.stderr
    answer = json.loads((tmp_path / "out/answers/gsm8k.jsonl").read_text())
    assert answer["prompt"].count("Question: ") == 2 and answer["prompt"].endswith("Answer:")


@pytest.mark.slow  # huggingface-hub itself tries for 25 seconds
def test_a_hub_that_is_not_there_is_told(base, tmp_path):
    command = ("evaluate.py", base, "--out", tmp_path / "out", "--benchmarks", "gsm8k,squad")
    result = on_the_hub("http://127.0.0.1:9", tmp_path / "home", *command)
    assert result.returncode == 2 and "put its rows in DIR/squad.jsonl" in result.stderr
    assert (
        "not asked for the others: DIR/gsm8k.jsonl" in result.stderr
        and not (tmp_path / "out").exists()
    )
