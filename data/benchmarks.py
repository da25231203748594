"""The 18 benchmarks of the study: where their rows are, how they are asked, what the gold is.

    items = testsets.load("gsm8k", data_dir="rows")    # rows/gsm8k.jsonl; without it from the Hub
    text = prompt("gsm8k", items[0].row)               # the student's user turn
    gold = BENCHMARKS["gsm8k"].gold(items[0].row)

One row of BENCHMARKS each; `toy` has four more, from data/toy.py. docs/benchmarks.md says how each
is scored and where that departs from the paper.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJ"
TOY_ITEMS = 250  # of each task of data/toy.py
BOXED = " Make sure to put the answer (and only answer) inside \\boxed{}."
MATH = "Solve the following math problem." + BOXED
READ = (
    "Read the passage and answer the question by selecting the text span from the passage that best"
    " answers it." + BOXED
)


@dataclass(frozen=True)
class Source:
    """Rows of one split of a data set on the Hub, of one or several configurations."""

    hub: str
    configs: tuple[str, ...]
    split: str
    revision: str  # a commit, or a branch where docs/benchmarks.md says so


@dataclass(frozen=True)
class Benchmark:
    family: str
    scorer: str  # a row of scoring.SCORERS
    source: Source | None  # None: given by path, or made here
    columns: tuple[str, ...]
    instruction: str
    question: Callable[[dict], str]
    gold: Callable[[dict], str | list[str]]  # a list: any of them is right
    options: Callable[[dict], list[str]] = lambda row: []
    key: str = ""  # column with the item's id ("": its number)
    keep: Callable[[dict], bool] = lambda row: True
    alike: str = ""  # demonstrations share this column with the item
    demos: Source | None = None  # None: the first rows, then left out of the score
    worked: Callable[[dict], str] = lambda row: ""  # a demonstration's way to its answer


@dataclass(frozen=True)
class Item:
    id: str
    row: dict


def letter(answer: int | str) -> str:
    return LETTERS[answer] if isinstance(answer, int) else answer.strip()


def passage(name: str, column: str) -> Callable[[dict], str]:
    return lambda row: f"{name}: {row[column]}\n\nQuestion: {row['question']}"


def coqa_question(row: dict) -> str:
    """The story, the turns before this one with their first golds, and this turn's question."""
    asked, answered, turn = questions(row), row["answers"]["input_text"], row.get("turn", 0)
    told = "".join(f"Q: {q}\nA: {a}\n" for q, a in zip(asked[:turn], answered[:turn], strict=True))
    return f"Passage: {row['story']}\n\n{told}{chr(10) if told else ''}Question: {asked[turn]}"


def coqa_golds(row: dict) -> list[str]:
    """One answer of each annotator to this turn; the Hub's other copy has the first one alone."""
    more = (row.get("additional_answers") or {}).values()
    return [each["input_text"][row.get("turn", 0)] for each in (row["answers"], *more) if each]


def questions(row: dict) -> list[str]:
    asked = row["questions"]
    return asked["input_text"] if isinstance(asked, dict) else asked


def scibench_question(row: dict) -> str:
    unit = row["unit"].strip()
    return row["problem_text"].strip() + (
        f"\n\nGive the answer in units of {unit}." if unit else ""
    )


def toy_options(row: dict) -> list[str]:
    return re.findall(r"^[A-D]\) (.*)$", row["prompt"], re.MULTILINE)


def mmlu(family: str, instruction: str, *subjects: str) -> Benchmark:
    revision = "c30699e8356da336a370243923dbaf21066bb9fe"
    return Benchmark(
        family, "choice", Source("cais/mmlu", subjects, "test", revision),
        ("question", "choices", "answer"), instruction,
        question=lambda row: row["question"], gold=lambda row: letter(row["answer"]),
        options=lambda row: row["choices"], alike="subject",
        demos=Source("cais/mmlu", subjects, "dev", revision),
    )  # fmt: skip


def mmlu_pro(family: str, category: str, subject: str) -> Benchmark:
    revision = "b189ec765aa7ed75c8acfea42df31fdae71f97be"
    return Benchmark(
        family, "choice", Source("TIGER-Lab/MMLU-Pro", ("default",), "test", revision),
        ("question", "options", "answer", "category"),
        MATH if category == "math" else f"Answer the following multiple-choice question about"
        f" {subject} by selecting the correct option." + BOXED,
        question=lambda row: row["question"], gold=lambda row: row["answer"],
        options=lambda row: row["options"], key="question_id",
        keep=lambda row: row["category"] == category,
        demos=Source("TIGER-Lab/MMLU-Pro", ("default",), "validation", revision),
        worked=lambda row: re.sub(r"^A: |\s*The answer is \([A-J]\)\.?\s*$", "",
                                  row.get("cot_content") or ""),
    )  # fmt: skip


def toy_task(family: str, scorer: str) -> Benchmark:
    return Benchmark(
        family, scorer, None, ("prompt", "gold"), "", question=lambda row: row["prompt"],
        gold=lambda row: row["gold"], options=toy_options,
    )  # fmt: skip


def from_hub(hub_id: str, config: str, split: str, revision: str, demos: str = "train") -> dict:
    """The source of a benchmark, and of its demonstrations: another split of the same data."""
    return {
        "source": Source(hub_id, (config,), split, revision),
        "demos": Source(hub_id, (config,), demos, revision),
    }


BENCHMARKS = {
    "winogrande": Benchmark(
        "general-mc", "choice", columns=("sentence", "option1", "option2", "answer"),
        instruction="Given a sentence with a blank (_) and two possible options, choose the option"
        " that correctly fills the blank so that the sentence makes the most logical sense."
        + BOXED,
        question=lambda row: row["sentence"], gold=lambda row: LETTERS[int(row["answer"]) - 1],
        options=lambda row: [row["option1"], row["option2"]],
        **from_hub("allenai/winogrande", "winogrande_xl", "validation",
                   "01e74176c63542e6b0bcb004dcdea22d94fb67b5"),
    ),
    "openbookqa": Benchmark(
        "general-mc", "choice", columns=("question_stem", "choices", "answerKey"),
        instruction="Select the option that best completes the scenario based on everyday reasoning"
        " about cause and effect." + BOXED,
        question=lambda row: row["question_stem"], options=lambda row: row["choices"]["text"],
        gold=lambda row: LETTERS[row["choices"]["label"].index(row["answerKey"])], key="id",
        **from_hub("allenai/openbookqa", "main", "test",
                   "388097ea7776314e93a529163e0fea805b8a6454"),
    ),
    "mmlu_misc": mmlu(
        "general-mc", "Answer the following multiple-choice question by selecting the option that"
        " best fits the correct knowledge." + BOXED, "miscellaneous",
    ),
    "squad": Benchmark(
        "general-oe", "squad", columns=("context", "question", "answers"), instruction=READ,
        question=passage("Passage", "context"), gold=lambda row: row["answers"]["text"], key="id",
        **from_hub("rajpurkar/squad", "plain_text", "validation",
                   "7b6d24c440a36b6815f21b70d25016731768db1f"),
    ),
    "coqa": Benchmark(
        "general-oe", "coqa", columns=("story", "questions", "answers"), instruction=READ,
        question=coqa_question, gold=coqa_golds, key="id",
        **from_hub("EleutherAI/coqa", "default", "validation", "refs/convert/parquet"),
    ),
    "ifeval": Benchmark(
        "general-oe", "ifeval", columns=("prompt", "instruction_id_list", "kwargs"),
        instruction="Answer the following instruction.", question=lambda row: row["prompt"],
        gold=lambda row: ", ".join(row["instruction_id_list"]), key="key",
        **from_hub("google/IFEval", "default", "train",
                   "966cd89545d6b6acfd7638bc708b98261ca58e84"),
    ),
    "aqua_rat": Benchmark(
        "math-mc", "choice", columns=("question", "options", "correct"), instruction=MATH,
        question=lambda row: row["question"], gold=lambda row: row["correct"],
        options=lambda row: [re.sub(r"^\s*[A-E]\s*\)\s*", "", text) for text in row["options"]],
        worked=lambda row: re.sub(r"\s*Ans(wer)?\W*[A-E]\W*$", "", row["rationale"]),
        **from_hub("deepmind/aqua_rat", "raw", "test",
                   "33301c6a050c96af81f63cad5562cb5363e88971"),
    ),
    "mmlu_math": mmlu(
        "math-mc", MATH, "abstract_algebra", "college_mathematics", "elementary_mathematics",
        "high_school_mathematics", "high_school_statistics",
    ),
    "mmlu_pro_math": mmlu_pro("math-mc", "math", "mathematics"),
    "gsm8k": Benchmark(
        "math-oe", "latex", columns=("question", "answer"), instruction=MATH,
        question=lambda row: row["question"],
        gold=lambda row: row["answer"].rpartition("####")[2].strip(),
        worked=lambda row: re.sub(r"<<.*?>>", "", row["answer"].rpartition("####")[0]).strip(),
        **from_hub("openai/gsm8k", "main", "test", "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"),
    ),
    "math_500": Benchmark(
        "math-oe", "latex", Source("HuggingFaceH4/MATH-500", ("default",), "test",
                                   "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
        ("problem", "answer"), MATH, question=lambda row: row["problem"],
        gold=lambda row: row["answer"], key="unique_id",
        demos=Source("EleutherAI/hendrycks_math", ("algebra",), "train",
                     "21a5633873b6a120296cce3e2df9d5550074f4a3"),
        worked=lambda row: row["solution"],
    ),
    "aime": Benchmark(
        "math-oe", "latex", Source("math-ai/aime25", ("default",), "test",
                                   "563bb8404243c5f09de6ec262f2db674fe5bce9b"),
        ("problem", "answer"), MATH, question=lambda row: row["problem"],
        gold=lambda row: row["answer"], key="id",
        demos=Source("math-ai/aime24", ("default",), "test",
                     "83a7f387baaa524a8bda0022eac0541582297103"),
        worked=lambda row: row["solution"],
    ),
    "mmlu_pro_law": mmlu_pro("law-mc", "law", "law"),
    "consumer_qa": Benchmark(
        "law-oe", "yes_no", columns=("contract", "question", "answer"), key="index",
        instruction="Read the contract and answer the question about it with Yes or No." + BOXED,
        question=passage("Contract", "contract"), gold=lambda row: row["answer"],
        **from_hub("nguha/legalbench", "consumer_contracts_qa", "test",
                   "daec8237410aa23e3faf4bc41ad8b3a7e1696826"),
    ),
    "mmlu_pro_code": mmlu_pro("code-mc", "computer science", "computer science"),
    "c_code_summarization": Benchmark(
        "code-oe", "summary", None, ("function", "summary"),
        "Summarize what the following C function does in one short sentence." + BOXED,
        question=lambda row: f"```c\n{row['function']}\n```", gold=lambda row: row["summary"],
    ),
    "mmlu_pro_physics": mmlu_pro("physics-mc", "physics", "physics"),
    "scibench": Benchmark(
        "physics-oe", "number", Source("xw27/scibench", ("default",), "train",
                                       "refs/convert/parquet"),
        ("problem_text", "answer_number", "unit"), "Solve the following science problem." + BOXED,
        question=scibench_question, gold=lambda row: row["answer_number"].strip(),
        worked=lambda row: (row.get("solution") or "").strip(),
    ),
    "toy_add": toy_task("math-oe", "latex"),
    "toy_largest": toy_task("math-mc", "choice"),
    "toy_sort": toy_task("general-oe", "words"),
    "toy_cups": toy_task("general-mc", "choice"),
}  # fmt: skip
TOY = [name for name in BENCHMARKS if name.startswith("toy_")]
STUDY = [name for name in BENCHMARKS if name not in TOY]
FAMILIES = list(dict.fromkeys(BENCHMARKS[name].family for name in STUDY))

# How many items each has where BENCHMARKS takes them, to count costs before anything is downloaded;
# CoQA's first turns; of CCSD the test set of its paper, about.
ITEMS = {
    "winogrande": 1267, "openbookqa": 500, "mmlu_misc": 783, "squad": 10_570, "coqa": 500,
    "ifeval": 541, "aqua_rat": 254, "mmlu_math": 1064, "mmlu_pro_math": 1351, "gsm8k": 1319,
    "math_500": 500, "aime": 30, "mmlu_pro_law": 1101, "consumer_qa": 396, "mmlu_pro_code": 410,
    "c_code_summarization": 4200, "mmlu_pro_physics": 1299, "scibench": 692,
    **dict.fromkeys(TOY, TOY_ITEMS),
}  # fmt: skip

# ---- what is asked --------------------------------------------------------------------------


def body(name: str, row: dict) -> str:
    benchmark = BENCHMARKS[name]
    options = [] if name in TOY else benchmark.options(row)  # a toy prompt has them in it
    lines = [f"{mark}) {text}" for mark, text in zip(LETTERS, options, strict=False)]
    return "\n".join([benchmark.question(row).strip(), *lines])


def prompt(name: str, row: dict) -> str:
    """The user's turn of a student: the paper's instruction, then the question and its options."""
    return "\n\n".join(filter(None, [BENCHMARKS[name].instruction, body(name, row)]))


def few_shot(name: str, row: dict, demos: list[dict]) -> str:
    """Plain text for a base model: worked demonstrations in one layout, then the question."""

    def block(row: dict, answer: str) -> str:
        text = body(name, row)
        return ("" if "\nQuestion: " in text else "Question: ") + f"{text}\nAnswer:{answer}"

    blocks = [block(demo, " " + demonstration(name, demo)) for demo in demos]
    return "\n\n".join(filter(None, [BENCHMARKS[name].instruction, *blocks, block(row, "")]))


def demonstration(name: str, row: dict) -> str:
    """A worked answer that ends in a box."""
    benchmark = BENCHMARKS[name]
    worked = benchmark.worked(row).strip()
    if "\\boxed" in worked:
        return worked
    gold = benchmark.gold(row)
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
