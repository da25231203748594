"""Rows of the 18 benchmarks, made up, in the Hub's layout; and how to write them to a folder."""

import json

MCQ = {"question": "Which of these is a colour?", "options": ["seven", "green", "under", "soon"]}


def mmlu(subject):
    first = {"question": MCQ["question"], "subject": subject, "choices": MCQ["options"]}
    second = {"question": "Which is even?", "subject": subject, "choices": ["3", "5", "8", "9"]}
    return [{**first, "answer": 1}, {**second, "answer": 2}]


def mmlu_pro(category):
    cot = "A: Let's think step by step. Green is one. The answer is (B)."
    row = {**MCQ, "answer": "B", "answer_index": 1, "cot_content": cot, "category": category}
    other = {"question": "Which is odd?", "options": ["2", "4", "6", "8", "10", "7"], "answer": "F"}
    other |= {"answer_index": 5, "cot_content": "", "category": category}
    strange = {**row, "category": "history"}
    return [{**r, "question_id": 70 + i, "src": ""} for i, r in enumerate((row, strange, other))]


STORY = {
    "id": "s1", "source": "made", "story": "Ann has a red kite. She flies it with Bob on Sunday.",
    "questions": {"input_text": ["Who has a kite?", "Of which colour?"], "turn_id": [1, 2]},
    "answers": {"input_text": ["Ann.", "red"], "turn_id": [1, 2]},
    "additional_answers": {
        "0": {"input_text": ["Ann", "It is red"], "turn_id": [1, 2]},
        "1": {"input_text": ["Ann does", "red"], "turn_id": [1, 2]},
    },
}  # fmt: skip
SQUAD = {"id": "q1", "title": "Kites", "context": "The kite was made in 1921 by A. Bell in Ohio.",
         "question": "When was the kite made?",
         "answers": {"text": ["1921", "in 1921"], "answer_start": [21, 18]}}  # fmt: skip
IFEVAL = {
    "key": 7, "prompt": "Say hello without commas, in at least 2 words.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{"num_words": None}, {"relation": "at least", "num_words": 2, "keyword": None}],
}  # fmt: skip
ROWS = {
    "winogrande": [
        {"sentence": "The cup did not fit the bag as the _ was too big.", "option1": "bag",
         "option2": "cup", "answer": "2"},
        {"sentence": "Ann thanked Eve because _ had helped.", "option1": "Eve", "option2": "Ann",
         "answer": "1"},
    ],
    "openbookqa": [
        {"id": "b1", "question_stem": "Ice melts when it is", "answerKey": "C",
         "choices": {"text": ["cut", "seen", "warm", "cold"], "label": ["A", "B", "C", "D"]}},
        {"id": "b2", "question_stem": "A plant needs", "answerKey": "A",
         "choices": {"text": ["light", "tea", "shoes", "ink"], "label": ["A", "B", "C", "D"]}},
    ],
    "mmlu_misc": mmlu("miscellaneous"),
    "squad": [SQUAD, {**SQUAD, "id": "q2", "question": "Where was it made?",
                      "answers": {"text": ["Ohio"], "answer_start": [40]}}],
    "coqa": [STORY],
    "ifeval": [IFEVAL, {**IFEVAL, "key": 8}],
    "aqua_rat": [
        {"question": "What is 3 + 4?", "options": ["A)5", "B)6", "C)7", "D)8", "E)9"],
         "rationale": "3 + 4 = 7.\nAnswer: C", "correct": "C"},
        {"question": "What is 3 - 4?", "options": ["A)5", "B)-1", "C)1", "D)8", "E)9"],
         "rationale": "3 - 4 = -1.\nAnswer: B", "correct": "B"},
    ],
    "mmlu_math": mmlu("abstract_algebra"),
    "mmlu_pro_math": mmlu_pro("math"),
    "gsm8k": [
        {"question": "Tom has 3 bags of 400 nuts. How many nuts?",
         "answer": "He has 3 * 400 = <<3*400=1200>>1,200 nuts.\n#### 1,200"},
        {"question": "Tom eats 2 of 9 nuts. How many are left?",
         "answer": "There are 9 - 2 = <<9-2=7>>7.\n#### 7"},
    ],
    "math_500": [
        {"problem": "Halve $\\frac{1}{3}$.", "solution": "It is $\\boxed{\\frac{1}{6}}$.",
         "answer": "\\frac{1}{6}", "subject": "Algebra", "level": 1, "unique_id": "test/1"},
        {"problem": "Solve $2x=8$.", "solution": "So $x=\\boxed{4}$.", "answer": "4",
         "subject": "Algebra", "level": 1, "unique_id": "test/2"},
    ],
    "aime": [{"id": "I-1", "problem": "What is $5^2$?", "answer": "025", "solution": "$25$"},
             {"id": "I-2", "problem": "What is $6^2$?", "answer": "36", "solution": ""}],
    "mmlu_pro_law": mmlu_pro("law"),
    "consumer_qa": [
        {"index": 4, "contract": "You may leave at any time.", "question": "May I leave?",
         "answer": "Yes"},
        {"index": 5, "contract": "Nothing is refunded.", "question": "Is there a refund?",
         "answer": "No"},
    ],
    "mmlu_pro_code": mmlu_pro("computer science"),
    "c_code_summarization": [
        {"file_path": "a.c", "function": "int twice(int x) { return 2 * x; }",
         "summary": "return two times the argument"},
        {"file_path": "b.c", "function": "void halt(void) { for (;;); }",
         "summary": "stop here forever"},
    ],
    "mmlu_pro_physics": mmlu_pro("physics"),
    "scibench": [
        {"problem_text": "How much is half of 25 joules?", "answer_number": " 12.5", "unit": "$J$",
         "answer_latex": "12.5", "source": "made", "problemid": "1", "comment": "",
         "solution": "Halve it.", "subject_file": "made"},
        {"problem_text": "How long is the rod?", "answer_number": "−3,000", "unit": " $10^3$ m",
         "answer_latex": "", "source": "made", "problemid": "2", "comment": "", "solution": "",
         "subject_file": "made"},
    ],
}  # fmt: skip


def earlier(row):
    """The row with another question."""
    asked = ("question", "sentence", "question_stem", "problem", "story")
    return {k: f"Earlier. {v}" if k in asked else v for k, v in row.items()}


DEMOS = {  # of benchmarks whose demonstrations come from another split or a named sibling
    name: [earlier(row) for row in rows[:1]]
    for name, rows in ROWS.items()
    if name not in ("ifeval", "scibench", "c_code_summarization")
}


def write_rows(folder, rows=ROWS, demos=DEMOS):
    """folder/BENCHMARK.jsonl and folder/BENCHMARK.demos.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, part in (("", rows), (".demos", demos)):
        for name, found in part.items():
            text = "".join(json.dumps(row) + "\n" for row in found)
            (folder / f"{name}{kind}.jsonl").write_text(text)
    return folder
