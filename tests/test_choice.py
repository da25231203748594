"""Letters out of the answers that models give to multiple-choice questions."""

import json
import time

import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring import choice

APPLES = ["4 apples", "5 apples", "6 apples", "7 apples", "None of these"]
NUMBERS = ["36", "15", "17", "5", "7"]
NAMES = ["Sarah", "Maria"]
SENTENCES = [
    "The queue should be emptied before any other job begins.",
    "The queue should be sorted first, and then emptied.",
    "Neither",
]
TEN = [f"x_{i}" for i in range(10)]
SPEEDS = ["3.0 m/s", "0.3 m/s", "30 m/s", "9.8 m/s^2"]
CASES = [
    (r"\boxed{C}", APPLES, "C"),
    (r"\boxed{\text{C}}", APPLES, "C"),
    (r"\boxed{(C)}", APPLES, "C"),
    (r"\boxed{\text{(C)}}", APPLES, "C"),
    (r"\boxed{C)}", APPLES, "C"),
    (r"\boxed{C) 6 apples}", APPLES, "C"),
    (r"\boxed{\text{C) 6 apples}}", APPLES, "C"),
    (r"\boxed{6 apples}", APPLES, "C"),
    (r"\boxed{6}", APPLES, "C"),
    (r"\boxed{\text{6 apples}}", APPLES, "C"),
    (r"\boxed{c}", APPLES, "C"),
    (r"\boxed{Option C}", APPLES, "C"),
    (r"\boxed{\textbf{(C)}\ 6}", APPLES, "C"),
    (r"\boxed{\textbf{C}}", APPLES, "C"),
    (r"\boxed{\mathrm{C}}", APPLES, "C"),
    (r"\boxed{A, C}", APPLES, None),
    (r"\boxed{A and C}", APPLES, None),
    (r"\boxed{A or B}", APPLES, None),
    (r"\boxed{F}", APPLES, None),
    (r"\boxed{8}", APPLES, None),
    (r"\boxed{B) 6 apples}", APPLES, None),
    ("The answer is (C).", APPLES, "C"),
    ("The answer is C", APPLES, "C"),
    ("the answer is: C. 6 apples", APPLES, "C"),
    ("Answer: C", APPLES, "C"),
    ("**Answer:** C", APPLES, "C"),
    ("**Answer: C) 6 apples**", APPLES, "C"),
    ("The correct answer is **C**.", APPLES, "C"),
    ("The correct answer is option C.", APPLES, "C"),
    (r"So the answer is $\boxed{D}$.", APPLES, "D"),
    ("C", APPLES, "C"),
    (" C) 6 apples", APPLES, "C"),
    ("C. 6 apples", APPLES, "C"),
    ("(C)", APPLES, "C"),
    ("Therefore, option (B) is correct.", APPLES, "B"),
    ("Therefore the correct option is B", APPLES, "B"),
    ("It is 6 apples.", APPLES, "C"),
    ("The answer is 6 apples.", APPLES, "C"),
    ("The answer is not A.", APPLES, None),
    ("A dog barks.", APPLES, None),
    ("", APPLES, None),
    ("<think>The answer is C", APPLES, None),
    (r"<think>\boxed{A}</think>\boxed{B}", APPLES, "B"),
    ("I think it is hard", TEN, None),
    (r"\boxed{36}", NUMBERS, "A"),
    (r"\boxed{15}", NUMBERS, "B"),
    (r"\boxed{15.0}", NUMBERS, "B"),
    ("the answer is 17.", NUMBERS, "C"),
    (r"\boxed{Sarah}", NAMES, "A"),
    (r"\boxed{Maria}", NAMES, "B"),
    ("Sarah", NAMES, "A"),
    ("The answer is Maria.", NAMES, "B"),
    ("So Sarah it is", NAMES, "A"),
    ("Sarah and Maria", NAMES, None),
    (r"\boxed{The queue should be emptied before}", SENTENCES, "A"),
    (r"\boxed{E=mc^2}", APPLES, None),
    (r"\boxed{B = 5}", NUMBERS, "D"),
    (r"\boxed{\frac{1}{2}}", ["0.25", "0.5"], "B"),
    ("A) 4 apples\nB) 5 apples\nC) 6 apples", APPLES, None),
    ("Let me think.\n\nC", APPLES, "C"),
    ("C\n\nExplanation: because 6.", APPLES, "C"),
    ("The answer is a.", APPLES, "A"),
    ("answer is a dog", APPLES, None),
    (r"\boxed{A}", ["B", "A"], "A"),
    ("The answer is (A) because of B.", APPLES, "A"),
    ("The answer is A because", APPLES, "A"),
    (r"\boxed{\text{A) }4}", APPLES, "A"),
    (r"The final answer is \(C\).", APPLES, "C"),
    ("The answer is $C$.", APPLES, "C"),
    ("answer is (J)", TEN, "J"),
    ("Option A is wrong. Option C is right.\n\nAnswer: (C)", APPLES, "C"),
    (r"$\boxed{C}$ or $\boxed{D}$", APPLES, None),
    ("The correct choice is:\n\n**C) 6 apples**", APPLES, "C"),
    ("**C**", APPLES, "C"),
    ("### Answer\nC", APPLES, "C"),
    ("Final Answer: The final answer is (B)", APPLES, "B"),
    (r"\boxed{5(\sqrt{3}+1)}", ["A)5(√3 + 1)", "B)6(√3 + √2)"], "A"),
    (r"\boxed{\$61}", ["A)$61", "B)$65"], "A"),
    (r"\boxed{13x/2 - 6}", ["A)13x/2", "B)13x/2 - 6"], "B"),
    (r"\boxed{Yes}", ["Yes", "No"], "A"),
    ("Yes, because", ["Yes", "No"], "A"),
    ("No.", ["Yes", "No"], "B"),
    (r"\boxed{yes}", ["Yes", "No"], "A"),
    (r"\boxed{True, False}", ["True, False", "True, True"], "A"),
    (r"\boxed{20}", ["A)10", "B)20%"], "B"),
    (r"\boxed{C: 6 apples}", APPLES, "C"),
    (r"\boxed{C\text{. 6 apples}}", APPLES, "C"),
    (r"\boxed{\text{C. } 6}", APPLES, "C"),
    (r"\boxed{I}", TEN, "I"),
    ("The best answer is D", APPLES, "D"),
    ("the answer would be B", APPLES, "B"),
    ("Answer - B", APPLES, "B"),
    ("Correct answer: B", APPLES, "B"),
    ("Hence, the correct answer is option B: 5 apples", APPLES, "B"),
    ("B is the correct answer.", APPLES, "B"),
    ("Thus, B is correct.", APPLES, "B"),
    ("I choose B.", APPLES, "B"),
    ("Option A is wrong, so B.", APPLES, "B"),
    ("Option (A) is incorrect. Therefore option (B) is correct.", APPLES, "B"),
    ("A and C are wrong, so B", APPLES, "B"),
    ("Option A is wrong. Option B is wrong.", APPLES, None),
    ("A is wrong.", APPLES, None),
    ("The answer cannot be A.", APPLES, None),
    ("A is wrong because 4.\nB is right because 5.\nC is wrong because 6.", APPLES, "B"),
    ("So the correct answer is indeed B.", APPLES, "B"),
    ("The answer is:\n- **B) 5 apples**", APPLES, "B"),
    ("<answer>B</answer>", APPLES, "B"),
    ("The answer is B</s>", APPLES, "B"),
    ("因此，正确答案是 **B**。", APPLES, "B"),
    ("故选：B", APPLES, "B"),
    (r"\boxed{\{B\}}", APPLES, "B"),
    ("option2", NAMES, "B"),
    ("So the total is 17.", NUMBERS, "C"),
    ("The ratio is 2:3.", ["1 : 2", "2 : 3"], "B"),
    (r"\boxed{0.30 \text{ m/s}}", SPEEDS, "B"),
    (r"\boxed{-30 \text{ m/s}}", SPEEDS, None),
    (r"\boxed{9.8 \text{ m/s}^2}", SPEEDS, "D"),
    (r"\boxed{9.8 \text{ m/s}^2}", ["9.8 m/s", "9.8 m/s^2"], "B"),
    (r"\boxed{15.5}", NUMBERS, None),
    (r"\boxed{15/7}", NUMBERS, None),
    (r"\boxed{15 \text{ or } 17}", NUMBERS, None),
    ("So the final number is 15.5", NUMBERS, None),
    (r"\boxed{\text{not } 15}", NUMBERS, None),
    ("It is not (B).", NUMBERS, None),
    (r"\boxed{15 \text{ (option B)}}", NUMBERS, "B"),
    (r"\boxed{B \text{ (15)}}", NUMBERS, "B"),
    ("C: cost of a bag\n\nWe get 25 bags.", NUMBERS, None),
    (r"\boxed{200 \text{ cm/s}}", ["100 cm", "200 cm"], None),
    (r"\boxed{24.2 \text{ cm}}", ["0.242 m", "2.42 m"], "A"),
    ("The correct option is **Maria**. The Sarah makes no sense here.", NAMES, "B"),
    ("**Maria** is the right choice, since Sarah would contradict it.", NAMES, "B"),
    ("So it is **Maria** and not Sarah.", NAMES, "B"),
    (r"\boxed{Sarah or Maria}", NAMES, None),
    (r"\boxed{Ian or someone}", ["Ian", "Joe"], None),
    (r"\boxed{\text{I and II}}", ["I only", "II only", "I and II"], "C"),
    (r"\boxed{\text{Only II and I}}", ["I only", "II only", "I and II"], "C"),
    (r"\boxed{C(5,2)}", NUMBERS, None),
    (r"\boxed{E \approx 3.5}", NUMBERS, None),
    (r"\boxed{\text{Statement 1: True, Statement 2: False}}",
     ["True, True", "True, False", "False, True"], "B"),
    (r"\boxed{\text{Answer: Maria}}", NAMES, "B"),
]  # fmt: skip


@pytest.mark.parametrize("text, options, letter", CASES)
def test_the_letter_that_an_answer_chooses(text, options, letter):
    assert choice.extract(text, options) == letter


def test_a_letter_beyond_the_options_is_no_answer():
    assert choice.extract(r"\boxed{C}", NAMES) is None
    assert choice.extract("The answer is (F).", APPLES) is None


def test_options_that_carry_their_letters_are_known_by_their_texts():
    options = ["A)5(√3 + 1)", "B)B)6(√3 + √2)", "C)$61", "D) 1,000"]
    for text, letter in (("5(\\sqrt{3}+1)", "A"), ("6(√3 + √2)", "B"), ("61", "C"), ("1000", "D")):
        assert choice.extract(rf"\boxed{{{text}}}", options) == letter


def test_an_option_that_looks_like_letters_is_known_by_all_of_its_text():
    options = ["(a) 2 J, (b) 3 J", "(a) 4 J, (b) 3 J", "c", "ab"]
    assert choice.extract(r"\boxed{(a) 4 J, (b) 3 J}", options) == "B"
    assert choice.extract("The answer is (a) 4 J, (b) 3 J.", options) == "B"
    assert choice.extract(r"\boxed{ab}", options) == "D"


def test_two_options_of_one_text_are_ambiguous_but_their_letters_are_not():
    assert choice.extract(r"\boxed{687}", ["687", "687", "1,493"]) is None
    assert choice.extract(r"\boxed{B) 687}", ["687", "687", "1,493"]) == "B"


needs_rows = pytest.mark.skipif(
    not (SHARED / "benchmarks").is_dir(), reason="the benchmarks are not beside the project"
)
COLUMNS = {  # options and gold letter of a row
    "aqua_rat": lambda row: (row["options"], row["correct"]),
    "mmlu_math": lambda row: (row["choices"], "ABCD"[row["answer"]]),
    "mmlu_misc": lambda row: (row["choices"], "ABCD"[row["answer"]]),
    "mmlu_pro_math": lambda row: (row["options"], row["answer"]),
    "mmlu_pro_physics": lambda row: (row["options"], row["answer"]),
    "mmlu_pro_law": lambda row: (row["options"], row["answer"]),
    "mmlu_pro_code": lambda row: (row["options"], row["answer"]),
    "openbookqa": lambda row: (row["choices"]["text"], row["answerKey"]),
    "winogrande": lambda row: ([row["option1"], row["option2"]], "AB"[int(row["answer"]) - 1]),
}


@needs_rows
@pytest.mark.parametrize("name", COLUMNS)
def test_every_gold_letter_is_found_in_every_manner_of_saying_it(name):
    rows = (SHARED / f"benchmarks/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    for row in rows[::5]:
        options, gold = COLUMNS[name](json.loads(row))
        text = choice.unlabelled(options[ord(gold) - ord("A")], gold)
        for said in (
            rf"\boxed{{{gold}}}", rf"\boxed{{\text{{{gold}}}}}", rf"Thus $\boxed{{({gold})}}$.",
            rf"\boxed{{{gold}) {text}}}", f"Reasons. The answer is ({gold}).", gold,
            f"Therefore, the answer is {gold}) {text}", f"**Answer: {gold}. {text}**",
            f"Hence option {gold} is correct.", f"Some thoughts about it.\n\n{gold}) {text}",
        ):  # fmt: skip
            assert choice.extract(said, options) == gold, said
        for said in ("", rf"\boxed{{{gold}", f"<think>{gold}", "I could not decide."):
            assert choice.extract(said, options) is None, said


@needs_rows
@pytest.mark.parametrize("name", COLUMNS)
def test_the_text_of_an_option_is_as_good_as_its_letter(name):
    rows = (SHARED / f"benchmarks/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for row in rows[::5]:
        options, _ = COLUMNS[name](json.loads(row))
        for letter, option in zip(choice.LETTERS, options, strict=False):
            text = choice.unlabelled(option, letter)
            found.append(choice.extract(rf"\boxed{{{text}}}", options) == letter)
    assert sum(found) >= 0.98 * len(found)  # the rest: one text twice, or braces that do not match


HOSTILE = {
    "digits": "1" * 10**6, "spaces": " " * 10**6, "letters": "A " * 10**5, "lines": "A)\n" * 10**5,
    "braces": "{" * 10_000, "brackets": "(" * 10**5, "answers": "answer is " * 10**5,
    "answer": "answer " * 10**5, "texts": r"\text{" * 10_000, "stars": "*" * 10**6,
    "NUL": "\x00A\x00",
    "surrogates": "\ud800(A", "boxes": r"\boxed{A} or " * 10**4, "ligatures": "ﷺ" * 10**5,
    "right to left": "\u202eA", "tower": r"\boxed{9^9^9^9}", "quotes": "\"'" * 10**5,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_scored_in_under_a_second(name):
    for text in (HOSTILE[name], "The answer is " + HOSTILE[name], rf"\boxed{{{HOSTILE[name]}}}"):
        start = time.process_time()
        choice.extract(text, [*TEN[:8], "5", HOSTILE[name][:1000]])
        assert time.process_time() - start < 1


WORDS = "A|B|c|(D)|the|answer|is|option|:|5 apples|\n|**|or|\\boxed{|}|\\text{|</think>|<think>|.|)"
words = st.sampled_from(WORDS.split("|"))


@settings(max_examples=300, deadline=1_000)
@given(st.one_of(st.text(max_size=80), st.lists(words, max_size=25).map(" ".join)))
def test_any_text_gives_a_letter_of_an_option_or_none(text):
    assert choice.extract(text, APPLES) in (None, *"ABCDE")
