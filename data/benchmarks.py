"""The 18 benchmarks of the study: where their rows are, how they are asked, what the gold is.

    items = testsets.load("gsm8k", data_dir="rows")    # rows/gsm8k.jsonl; without it from the Hub
    text = prompt("gsm8k", items[0].row)               # the student's user turn
    gold = BENCHMARKS["gsm8k"].gold(items[0].row)

A benchmark is a row of BENCHMARKS; `toy` has four more, from data/toy.py. docs/benchmarks.md says
how each is scored and where that departs from the paper.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

LETTERS = "ABCDEFGHIJ"
TOY_ITEMS = 250  # of each task of data/toy.py


@dataclass(frozen=True)
class Source:
    """Rows of one split of a data set on the Hub, of one or several configurations."""

    hub: str
    split: str
    revision: str  # a commit, or a branch where docs/benchmarks.md says so
    configs: tuple[str, ...] = ("default",)


@dataclass(frozen=True)
class Benchmark:
    family: str
    scorer: str  # a row of scoring.SCORERS
    items: int  # how many there are, to count costs before anything is downloaded
    instruction: str
    columns: tuple[str, ...] = ("question", "answer")
    question: Callable[[dict], str] = itemgetter("question")
    gold: Callable[[dict], str | list[str]] = itemgetter("answer")  # a list: any of them is right
    options: Callable[[dict], list[str]] = lambda row: []
    source: Source | None = None  # None: given by path, or generated here
    demos: Source | None = None  # None: the first rows, then left out of the score
    worked: Callable[[dict], str] = lambda row: ""  # a demonstration's way to its answer
    key: str = ""  # column with the item's id ("": its number)
    keep: Callable[[dict], bool] = lambda row: True
    alike: str = ""  # demonstrations share this column with the item


@dataclass(frozen=True)
class Item:
    id: str
    row: dict


# ---- questions and golds that take more than a column -----------------------------------------


def passage(name: str, column: str) -> Callable[[dict], str]:
    return lambda row: f"{name}: {row[column]}\n\nQuestion: {row['question']}"


def questions(row: dict) -> list[str]:
    """The questions of a CoQA story, in either of the Hub's two layouts."""
    asked = row["questions"]
    return asked["input_text"] if isinstance(asked, dict) else asked


def coqa_question(row: dict) -> str:
    """The story, the turns before this one with their first golds, and this turn's question."""
    asked, answered, turn = questions(row), row["answers"]["input_text"], row.get("turn", 0)
    turns = [f"Q: {q}\nA: {a}\n" for q, a in zip(asked[:turn], answered[:turn], strict=True)]
    history = "".join([*turns, "\n"]) if turns else ""
    return f"Passage: {row['story']}\n\n{history}Question: {asked[turn]}"


def coqa_golds(row: dict) -> list[str]:
    """One answer of each annotator to this turn; the Hub's other copy has the first one alone."""
    more = (row.get("additional_answers") or {}).values()
    return [each["input_text"][row.get("turn", 0)] for each in (row["answers"], *more) if each]


def scibench_question(row: dict) -> str:
    question, unit = row["problem_text"].strip(), row["unit"].strip()
    return f"{question}\n\nGive the answer in units of {unit}." if unit else question


def mmlu_gold(row: dict) -> str:
    answer = row["answer"]
    return LETTERS[answer] if isinstance(answer, int) else answer.strip()


# ---- one row a benchmark ------------------------------------------------------------------------

BOXED = " Make sure to put the answer (and only answer) inside \\boxed{}."
MATH = "Solve the following math problem." + BOXED
READ = (
    "Read the passage and answer the question by selecting the text span from the passage that best"
    " answers it." + BOXED
)


def on_hub(hub: str, split: str, revision: str, *configs: str, demos: str = "train") -> dict:
    """The source of a benchmark, and of its demonstrations: another split of the same data."""
    splits, configs = {"source": split, "demos": demos}, configs or ("default",)
    return {field: Source(hub, name, revision, configs) for field, name in splits.items()}


def mmlu(family: str, items: int, instruction: str, *subjects: str) -> Benchmark:
    return Benchmark(
        family, "choice", items, instruction, ("question", "choices", "answer"), gold=mmlu_gold,
        options=itemgetter("choices"), alike="subject",
        **on_hub("cais/mmlu", "test", "c30699e8356da336a370243923dbaf21066bb9fe", *subjects,
                 demos="dev"),
    )  # fmt: skip


def mmlu_pro(family: str, items: int, category: str, instruction: str = "") -> Benchmark:
    return Benchmark(
        family, "choice", items,
        instruction or f"Answer the following multiple-choice question about {category} by"
        " selecting the correct option." + BOXED,
        ("question", "options", "answer", "category"), options=itemgetter("options"),
        key="question_id", keep=lambda row: row["category"] == category,
        worked=lambda row: re.sub(
            r"^A: |\s*The answer is \([A-J]\)\.?\s*$", "", row.get("cot_content") or ""),
        **on_hub("TIGER-Lab/MMLU-Pro", "test", "b189ec765aa7ed75c8acfea42df31fdae71f97be",
                 demos="validation"),
    )  # fmt: skip


def toy_task(family: str, scorer: str) -> Benchmark:
    return Benchmark(
        family, scorer, TOY_ITEMS, "", ("prompt", "gold"), itemgetter("prompt"), itemgetter("gold"),
        options=lambda row: re.findall(r"^[A-D]\) (.*)$", row["prompt"], re.MULTILINE),
    )  # fmt: skip


# A row: family, scorer, number of items, instruction, columns; then what differs from Benchmark's
# defaults. A new benchmark is a row here, with a scorer that scoring.SCORERS has, two rows of it in
# tests/made.py, and another count in tests and docs.
BENCHMARKS = {
    "winogrande": Benchmark(
        "general-mc", "choice", 1267, "Given a sentence with a blank (_) and two possible options,"
        " choose the option that correctly fills the blank so that the sentence makes the most"
        " logical sense." + BOXED, ("sentence", "option1", "option2", "answer"),
        question=itemgetter("sentence"), options=lambda row: [row["option1"], row["option2"]],
        gold=lambda row: LETTERS[int(row["answer"]) - 1],
        **on_hub("allenai/winogrande", "validation", "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
                 "winogrande_xl"),
    ),
    "openbookqa": Benchmark(
        "general-mc", "choice", 500, "Select the option that best completes the scenario based on"
        " everyday reasoning about cause and effect." + BOXED,
        ("question_stem", "choices", "answerKey"), question=itemgetter("question_stem"),
        gold=lambda row: LETTERS[row["choices"]["label"].index(row["answerKey"])],
        options=lambda row: row["choices"]["text"], key="id",
        **on_hub("allenai/openbookqa", "test", "388097ea7776314e93a529163e0fea805b8a6454", "main"),
    ),
    "mmlu_misc": mmlu(
        "general-mc", 783, "Answer the following multiple-choice question by selecting the option"
        " that best fits the correct knowledge." + BOXED, "miscellaneous",
    ),
    "squad": Benchmark(
        "general-oe", "squad", 10_570, READ, ("context", "question", "answers"), key="id",
        question=passage("Passage", "context"), gold=lambda row: row["answers"]["text"],
        **on_hub("rajpurkar/squad", "validation", "7b6d24c440a36b6815f21b70d25016731768db1f",
                 "plain_text"),
    ),
    "coqa": Benchmark(  # its items: the first turns
        "general-oe", "coqa", 500, READ, ("story", "questions", "answers"), key="id",
        question=coqa_question, gold=coqa_golds,
        **on_hub("EleutherAI/coqa", "validation", "refs/convert/parquet"),
    ),
    "ifeval": Benchmark(
        "general-oe", "ifeval", 541, "Answer the following instruction.",
        ("prompt", "instruction_id_list", "kwargs"), question=itemgetter("prompt"), key="key",
        gold=lambda row: ", ".join(row["instruction_id_list"]),
        **on_hub("google/IFEval", "train", "966cd89545d6b6acfd7638bc708b98261ca58e84"),
    ),
    "aqua_rat": Benchmark(
        "math-mc", "choice", 254, MATH, ("question", "options", "correct"),
        options=lambda row: [re.sub(r"^\s*[A-E]\s*\)\s*", "", text) for text in row["options"]],
        worked=lambda row: re.sub(r"\s*Ans(wer)?\W*[A-E]\W*$", "", row["rationale"]),
        gold=itemgetter("correct"),
        **on_hub("deepmind/aqua_rat", "test", "33301c6a050c96af81f63cad5562cb5363e88971", "raw"),
    ),
    "mmlu_math": mmlu(
        "math-mc", 1064, MATH, "abstract_algebra", "college_mathematics", "elementary_mathematics",
        "high_school_mathematics", "high_school_statistics",
    ),
    "mmlu_pro_math": mmlu_pro("math-mc", 1351, "math", MATH),
    "gsm8k": Benchmark(
        "math-oe", "latex", 1319, MATH, gold=lambda row: row["answer"].split("####")[-1].strip(),
        worked=lambda row: re.sub(r"<<.*?>>", "", row["answer"].rpartition("####")[0]).strip(),
        **on_hub("openai/gsm8k", "test", "cc7b047b6e5bb11b4f1af84efc572db110a51b3c", "main"),
    ),
    "math_500": Benchmark(
        "math-oe", "latex", 500, MATH, ("problem", "answer"), itemgetter("problem"),
        key="unique_id", worked=itemgetter("solution"),
        source=Source("HuggingFaceH4/MATH-500", "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
        demos=Source("EleutherAI/hendrycks_math", "train",
                     "21a5633873b6a120296cce3e2df9d5550074f4a3", ("algebra",)),
    ),
    "aime": Benchmark(
        "math-oe", "latex", 30, MATH, ("problem", "answer"), itemgetter("problem"), key="id",
        worked=itemgetter("solution"),
        source=Source("math-ai/aime25", "test", "563bb8404243c5f09de6ec262f2db674fe5bce9b"),
        demos=Source("math-ai/aime24", "test", "83a7f387baaa524a8bda0022eac0541582297103"),
    ),
    "mmlu_pro_law": mmlu_pro("law-mc", 1101, "law"),
    "consumer_qa": Benchmark(
        "law-oe", "yes_no", 396, "Read the contract and answer the question about it with Yes or"
        " No." + BOXED, ("contract", "question", "answer"), passage("Contract", "contract"),
        key="index",
        **on_hub("nguha/legalbench", "test", "daec8237410aa23e3faf4bc41ad8b3a7e1696826",
                 "consumer_contracts_qa"),
    ),
    "mmlu_pro_code": mmlu_pro("code-mc", 410, "computer science"),
    "c_code_summarization": Benchmark(  # its items: about those of its paper's test set
        "code-oe", "summary", 4200, "Summarize what the following C function does in one short"
        " sentence." + BOXED, ("function", "summary"),
        question=lambda row: f"```c\n{row['function']}\n```", gold=itemgetter("summary"),
    ),
    "mmlu_pro_physics": mmlu_pro("physics-mc", 1299, "physics"),
    "scibench": Benchmark(
        "physics-oe", "number", 692, "Solve the following science problem." + BOXED,
        ("problem_text", "answer_number", "unit"), scibench_question,
        gold=lambda row: row["answer_number"].strip(),
        worked=lambda row: (row.get("solution") or "").strip(),
        source=Source("xw27/scibench", "train", "refs/convert/parquet"),
    ),
    "toy_add": toy_task("math-oe", "latex"),
    "toy_largest": toy_task("math-mc", "choice"),
    "toy_sort": toy_task("general-oe", "words"),
    "toy_cups": toy_task("general-mc", "choice"),
}  # fmt: skip
TOY = [name for name in BENCHMARKS if name.startswith("toy_")]
STUDY = [name for name in BENCHMARKS if name not in TOY]
TASK_FAMILIES = list(dict.fromkeys(BENCHMARKS[name].family for name in STUDY))
ITEMS = {name: benchmark.items for name, benchmark in BENCHMARKS.items()}

# ---- what is asked ------------------------------------------------------------------------------


def body(name: str, row: dict) -> str:
    benchmark = BENCHMARKS[name]
    options = [] if name in TOY else benchmark.options(row)  # a toy prompt contains them
    lines = [f"{mark}) {text}" for mark, text in zip(LETTERS, options, strict=False)]
    return "\n".join([benchmark.question(row).strip(), *lines])


def prompt(name: str, row: dict) -> str:
    """The user's turn of a student: the paper's instruction, then the question and its options."""
    return "\n\n".join(filter(None, [BENCHMARKS[name].instruction, body(name, row)]))


def few_shot(name: str, row: dict, demos: list[dict]) -> str:
    """Plain text for a base model: worked demonstrations in one layout, then the question."""
    turns = [f"{turn(name, demo)} {demonstration(name, demo)}" for demo in demos]
    return "\n\n".join(filter(None, [BENCHMARKS[name].instruction, *turns, turn(name, row)]))


def turn(name: str, row: dict) -> str:
    text = body(name, row)
    return ("" if "\nQuestion: " in text else "Question: ") + f"{text}\nAnswer:"


def openings(name: str, row: dict) -> tuple[str, ...]:
    """What begins a line of few_shot's next turn: it ends an answer in plain text."""
    labels = (turn(name, row).partition(":")[0], "Question", *(["Q"] if name == "coqa" else []))
    return tuple(f"{label}:" for label in dict.fromkeys(labels))


def demonstration(name: str, row: dict) -> str:
    """A worked answer that ends in a box."""
    worked = BENCHMARKS[name].worked(row).strip()
    if "\\boxed" in worked:
        return worked
    gold = BENCHMARKS[name].gold(row)
    return f"{worked} \\boxed{{{gold[0] if isinstance(gold, list) else gold}}}".strip()


def reference(name: str, row: dict) -> str | None:
    """The gold as a judge reads it; None for IFEval, which has none."""
    benchmark = BENCHMARKS[name]
    gold, options = benchmark.gold(row), benchmark.options(row)
    if options:
        return f"{gold}) {options[LETTERS.index(gold)]}"
    if benchmark.scorer == "ifeval":
        return None
    return " or ".join(dict.fromkeys(gold)) if isinstance(gold, list) else gold
