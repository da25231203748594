"""Spans, summaries, juries, and score() over every benchmark: gold is right, all else is not."""

import inspect
import math
import time

import made
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

import scoring
from data import benchmarks
from data import items as testsets
from data.benchmarks import BENCHMARKS, STUDY, TOY
from scoring import jury, qa, score, stated, summary

# ---- spans ----------------------------------------------------------------------------------

# (prediction, golds, exact match, F1), from the definitions of SQuAD v1.1
SQUAD = [
    ("Denver Broncos", ["Denver Broncos"], 1, 1),
    ("the Denver Broncos.", ["Denver Broncos"], 1, 1),
    ("DENVER  broncos", ["Denver Broncos"], 1, 1),
    ("Broncos", ["Denver Broncos"], 0, 2 / 3),
    ("The Broncos of Denver", ["Denver Broncos"], 0, 4 / 5),
    ("Denver Broncos team", ["Denver Broncos", "Broncos team of Denver"], 0, 6 / 7),
    ("Carolina Panthers", ["Denver Broncos"], 0, 0),
    ("", ["Denver Broncos"], 0, 0),
    ("24-10", ["24–10"], 0, 0),  # an en dash is no ASCII punctuation
    ("24–10", ["24–10"], 1, 1),
    ("$1.5 million", ["1.5 million"], 1, 1),
    ("15 million", ["1.5 million"], 1, 1),  # punctuation goes, the dot as well
    ("1,000", ["1000"], 1, 1),
    ("an apple a day", ["apple day"], 1, 1),
    ("another", ["other"], 0, 0),
    ("a", ["the"], 1, 0),  # no word is left: equal, but F1 counts shared words
    ("1921", ["1921", "in 1921"], 1, 1),
    ("in the year 1921", ["1921", "in 1921"], 0, 4 / 5),
    ("red red", ["red"], 0, 2 / 3),
    ("red", ["red red"], 0, 2 / 3),
    ("red red blue", ["blue red red"], 0, 1),
    ("Beyoncé", ["Beyonce"], 0, 0),
    ("Beyoncé", ["beyoncé"], 1, 1),
    ("New York City", ["New York", "York City"], 0, 4 / 5),
    ("it's", ["its"], 1, 1),
    ("rock-n-roll", ["rock n roll"], 0, 0),
    ("the theory", ["theory"], 1, 1),
    ("8 (eight)", ["8", "eight"], 0, 2 / 3),
    ("yes", ["no"], 0, 0),
    ("I don't know", ["dont know"], 0, 4 / 5),
]


@pytest.mark.parametrize(("pred", "golds", "exact", "f1"), SQUAD)
def test_squad(pred, golds, exact, f1):
    assert qa.squad(pred, golds) == pytest.approx((exact, f1))


@pytest.mark.parametrize(("pred", "golds", "exact", "f1"), [
    ("white", ["white"], 1, 1),
    ("white", ["white", "white"], 1, 1),
    ("white", ["white", "grey"], 1 / 2, 1 / 2),  # left out in turn: against grey, against white
    ("white", ["white", "white", "grey"], 1, 1),
    ("white", ["white", "grey", "black"], 2 / 3, 2 / 3),
    ("white", ["White.", "it was white", "white", "a white one"], 1, 1),
    ("white", ["it was white", "white"], 1 / 2, (1 + 1 / 2) / 2),
    ("grey", ["white", "white"], 0, 0),
    ("it was white", ["white", "was white"], 0, (4 / 5 + 1 / 2) / 2),
    ("no", ["no", "No.", "yes", "no"], 1, 1),
    ("no", ["no", "unknown", "yes", "maybe"], 3 / 4, 3 / 4),
    ("the", ["a", "the"], 1, 1),  # both without a word
    ("", ["white", "the"], 1 / 2, 1 / 2),
    ("two cats", ["two cats", "two", "cats", "2"], 3 / 4, (1 + 1 + 1 + 2 / 3) / 4),
])  # fmt: skip
def test_coqa_leaves_each_gold_out_in_turn(pred, golds, exact, f1):
    assert qa.coqa(pred, golds) == pytest.approx((exact, f1))


@pytest.mark.parametrize(("text", "answer", "how"), [
    (r"\boxed{Denver Broncos}", "Denver Broncos", "boxed"),
    (r"It is $\boxed{\text{Denver Broncos}}$.", "Denver Broncos", "boxed"),
    (r"\boxed{\textbf{\text{1921}}}", "1921", "boxed"),
    (r"\boxed{Denver\ Broncos}", "Denver Broncos", "boxed"),
    (r"\boxed{Denver~Broncos}", "Denver Broncos", "boxed"),
    (r"\boxed{\$5 \text{ million}}", "$5 million", "boxed"),
    (r"\boxed{50\%}", "50%", "boxed"),
    (r"\boxed{AT\&T}", "AT&T", "boxed"),
    (r"\boxed{$1921$}", "1921", "boxed"),
    (r"first \boxed{a} then \boxed{b}", "b", "boxed"),
    (r"\boxed{yes\}.", "yes", "boxed"),
    (r"\boxed{in {1921}}", "in {1921}", "boxed"),
    ("The answer is Denver Broncos.", "Denver Broncos", "phrase"),
    ("Well.\nThe answer is: **1921**.\nOk?", "1921", "phrase"),
    ("Answer: 1921", "1921", "phrase"),
    ("**Answer:** 1921", "1921", "phrase"),
    ("Denver Broncos", "Denver Broncos", "only line"),
    ("  1921\n", "1921", "only line"),
    ("One line.\nAnother.", None, "none"),
    ("It was long.\n\n**1921**", "1921", "bold line"),
    ("### Answer\n\nDenver Broncos", "Denver Broncos", "phrase"),
    ("<answer>\nDenver Broncos\n</answer>", "Denver Broncos", "phrase"),
    (r"\boxed{\text{Answer: 1921}}", "1921", "boxed"),
    (r"\boxed{\textsc{\underline{1921}}}", "1921", "boxed"),
    ("The answer is 1921. I hope it is correct.", "1921", "phrase"),
    ("", None, "none"),
    (" \n ", None, "none"),
    (r"It is \boxed{Denver Bro", None, "none"),
    ("The answer is \\boxed{Denver", None, "none"),
])  # fmt: skip
def test_spans_are_found(text, answer, how):
    assert stated.words(text) == (answer, how)


@given(st.text(max_size=80), st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_span_scores_are_shares_and_symmetric(pred, golds):
    for measure in (qa.squad, qa.coqa):
        assert all(0 <= value <= 1 for value in measure(pred, golds))
        assert measure(pred, golds[:1]) == measure(golds[0], [pred])
    exact, f1 = qa.squad(pred, golds)
    assert exact <= f1 or not qa.normalise(pred)


# ---- summaries ------------------------------------------------------------------------------


@pytest.mark.parametrize(("pred", "gold", "f1"), [
    ("return the byte count", "return the byte count", 1),
    ("Return the byte count.", "return the byte count", 1),
    ("return byte", "return the byte count", 2 * 2 / 6),
    ("count the byte", "return the byte count", 2 * 2 / 7),  # the byte
    ("a b c d", "d c b a", 2 * 1 / 8),
    ("a b c d e", "a x b y c", 2 * 3 / 10),
    ("ring_push", "ring push", 1),
    ("nothing alike", "return the byte count", 0),
    ("", "return", 0),
    ("é", "e", 0),
])  # fmt: skip
def test_rouge_l(pred, gold, f1):
    assert summary.rouge_l(pred, gold) == pytest.approx(f1)
    assert summary.rouge_l(gold, pred) == pytest.approx(f1)


@pytest.mark.parametrize(("pred", "gold", "precisions", "brevity"), [
    ("return the byte count", "return the byte count", (1, 1, 1, 1), 0),
    ("Return the byte count", "return the byte count", (1, 1, 1, 1), 0),
    # 1-grams 3/4; then one added to both: 2-grams 2/3, 3-grams 1/2, 4-grams 0/1
    ("return the byte number", "return the byte count", (3 / 4, 3 / 4, 2 / 3, 1 / 2), 0),
    ("return", "return the byte count", (1, 1, 1, 1), 1 - 5 / 2),
    ("return the byte count now", "return the byte count", (4 / 5, 4 / 5, 3 / 4, 2 / 3), 0),
    ("the the the the", "the cat", (1 / 4, 1 / 4, 1 / 3, 1 / 2), 0),
    ("size_t", "size t", (2 / 3, 1 / 3, 1 / 2, 1), 0),  # _ is a word
    ("a.b", "a . b", (1, 1, 1, 1), 0),
    ("", "return it", (1, 1, 1, 1), 1 - 3 / 1),  # as CodeXGLUE: the brevity penalty alone
])  # fmt: skip
def test_bleu4_as_codexglue_smooths_it(pred, gold, precisions, brevity):
    expected = math.exp(sum(math.log(p) for p in precisions) / 4 + brevity)
    assert summary.bleu4(pred, gold) == pytest.approx(expected)


def test_bleu4_without_a_common_word_is_0():
    assert summary.bleu4("nothing alike", "return the byte count") == 0


# ---- judges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "vote"), [
    (r"\boxed{yes}", True), (r"so \boxed{no}.", False), (r"\boxed{Yes}", True),
    (r"\boxed{\text{no}}", False), (r"\boxed{ NO }", False), (r"\boxed{yes} ... \boxed{no}", False),
    ("yes", None), ("", None), (r"\boxed{maybe}", None), (r"\boxed{yesterday}", None),
    (r"<think>\boxed{no}</think> \boxed{yes}", True), (r"<think>\boxed{no}</think> hm", None),
    (r"\boxed{\textbf{Yes}}", True), (r"\boxed{\mathrm{no}}", False),
    (r"\boxed{\text{yes}.}", True),
    (r'\boxed{"yes"}', True), (r"\boxed{``no''}", False), (r"\boxed{“Yes”}", True),
    (r"\boxed{**yes**}", True), (r"<think>It is \boxed{yes}", None), (r"\boxed{yes or no}", None),
    (r"\boxed{yes/no}", None),
])  # fmt: skip
def test_a_verdict_is_the_last_box(text, vote):
    assert jury.verdict(text) is vote


@pytest.mark.parametrize(("votes", "says"), [
    ([True], True), ([False], False), ([None], False), ([True, True, False], True),
    ([True, False, None], False), ([True, None, True], True), ([True, False], False),
])  # fmt: skip
def test_a_majority_is_more_than_half(votes, says):
    assert jury.majority(votes) is says


def test_a_judge_sees_the_ending_alone_and_for_ifeval_no_reference():
    long = "start " + "x" * 5000 + " end"
    seen = jury.prompt("How many?", long, "12")
    assert "start" not in seen and seen.count(" end") and "How many?" in seen and "12" in seen
    assert "start" in jury.prompt("Say it.", long, None)
    assert "eference" not in jury.prompt("Say it.", long, None)
    assert jury.prompt("{question}", "{ending}", "{}").count("{}") == 1  # braces are text


# ---- score(), every benchmark ---------------------------------------------------------------

TOYS = {name: [item.row for item in testsets.load(name)[:20]] for name in TOY}
FORMS = {
    "boxed": "<think>\nNot \\boxed{{zzz}}.\n</think>\n\nSo it is $\\boxed{{{}}}$.",
    "box alone": "\\boxed{{{}}}",
    "in prose": "Let me see.\nThe answer is {}.",
}


def golds_of(name, row):
    gold = BENCHMARKS[name].gold(row)
    return list(dict.fromkeys(gold)) if isinstance(gold, list) else [gold]


def check_items(name, rows, distinct=True):
    """Gold scores full marks in every form; another answer, none and a cut-off one nothing."""
    options = BENCHMARKS[name].options
    for i, row in enumerate(rows):
        golds = golds_of(name, row)
        for gold in golds:
            for form, text in FORMS.items():
                found = score(name, row, text.format(gold))
                assert found.correct, (name, form, gold, found)
                if name == "coqa":  # each gold against the others, as each human was measured
                    alone = len({qa.normalise(g) for g in golds}) == 1
                    assert found.value == (1 if alone else qa.coqa(gold, golds_all(name, row))[1])
                else:
                    assert found.value == 1, (name, form, gold, found)
        wrong = [benchmarks.LETTERS[k] for k in range(len(options(row)))]
        others = [g for g in golds_of(name, rows[i - 1]) if g not in golds] if not wrong else []
        for answer in [w for w in wrong if w not in golds] + (others if distinct else []):
            found = score(name, row, FORMS["boxed"].format(answer))
            assert not found.correct, (name, golds, answer, found)
        cut = golds[0][: max(1, len(golds[0]) // 2)]
        for text in ("", " \n", f"<think>\n\\boxed{{{golds[0]}}}", f"Hm \\boxed{{{cut}"):
            found = score(name, row, text)
            assert not found.correct and found.value == 0, (name, text, found)
        assert score(name, row, "").extracted is None


def golds_all(name, row):
    return BENCHMARKS[name].gold(row)


ROWS = {**made.ROWS, **TOYS}
ROWS["coqa"] = [item.row for item in testsets.turns(benchmarks.Item("", made.STORY), "all")]
for pro in [name for name in ROWS if name.startswith("mmlu_pro")]:
    ROWS[pro] = [row for row in ROWS[pro] if BENCHMARKS[pro].keep(row)]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "ifeval"])
def test_gold_is_right_and_all_else_is_wrong(name):
    check_items(name, ROWS[name])


# pairs of other items' golds that are right: the same answer in other words, or within 5 %
REAL = [
    pytest.param(name, marks=[pytest.mark.slow] if name.startswith("mmlu_pro") else [])
    for name in STUDY
    if name != "ifeval"
]
ALIKE = {"squad", "coqa", "scibench", "math_500", "gsm8k", "consumer_qa"}


@pytest.mark.skipif(not (SHARED / "benchmarks").is_dir(), reason="no ../shared/benchmarks here")
@pytest.mark.parametrize("name", REAL)
def test_gold_is_right_on_every_real_item(name):
    items = testsets.load(name, str(SHARED / "benchmarks"), coqa="all")
    check_items(name, [item.row for item in items], distinct=name not in ALIKE)
    same = 0
    for item, other in zip(items, [*items[1:], items[0]], strict=True):
        theirs = [g for g in golds_of(name, other.row) if g not in golds_of(name, item.row)]
        if not BENCHMARKS[name].options(item.row):
            same += any(score(name, item.row, f"\\boxed{{{g}}}").correct for g in theirs)
    assert same <= max(3, 0.03 * len(items)), f"{same} of {len(items)}"


@pytest.mark.skipif(not (SHARED / "benchmarks").is_dir(), reason="no ../shared/benchmarks here")
def test_every_real_ifeval_item_is_checked():
    for item in testsets.load("ifeval", str(SHARED / "benchmarks")):
        found = score("ifeval", item.row, "A word or two.")
        assert found.value in (0, 1) and found.extracted and "strict" in found.detail
        assert not score("ifeval", item.row, "<think>\nhm").correct


@pytest.mark.parametrize(("text", "right"), [
    (r"\boxed{Yes}", True), (r"\boxed{yes.}", True), (r"\boxed{\text{Yes}}", True),
    ("Yes, the contract says so.\nIndeed.", True), ("The answer is yes.", True),
    ("**Answer:** Yes", True), (r"No. \boxed{Yes}", True), ("yes", True),
    (r"\boxed{No}", False), (r"\boxed{Yes or No}", False), (r"\boxed{}", False),
    ("No, you may not.\nYes was wrong.", False), ("Perhaps.\nPerhaps not.", False),
    (r"\boxed{It depends: yes}", False), (r"\boxed{yesterday}", False), ("<think>Yes", False),
    (r"\boxed{A}", False), (r"\boxed{yesno}", False),
    ("No matter where you live, you can do so. So yes.", True), ("**Answer:**\nYes", True),
    ("### Answer\nYes", True), ("<answer>Yes</answer>", True), (r"\boxed{Answer: Yes}", True),
    ("The contract allows it.\n\n**Yes**", True), ("No one doubts it. Therefore, yes.", True),
    (r"\boxed{\underline{\text{Yes}}}", True), (r"\boxed{\color{red}Yes}", True),
    ("Yes and no.", False), ("The answer is not yes.", False), ("Answer: Yes or No", False),
])  # fmt: skip
def test_yes_or_no(text, right):
    assert score("consumer_qa", made.ROWS["consumer_qa"][0], text).correct is right


def test_ifeval_does_not_see_the_thinking():
    row = made.IFEVAL
    assert score("ifeval", row, "<think>\na, b, c\n</think>\n\nhello there").correct
    found = score("ifeval", row, "<think>\nok\n</think>\n\nhello, there")
    assert not found.correct and found.detail == "strict 1/2, loose 1/2"
    assert score("ifeval", row, "hello, there\nhello friend").detail == "strict 1/2, loose 2/2"


def test_a_summary_counts_as_no_accuracy_but_is_measured_twice():
    row = made.ROWS["c_code_summarization"][0]
    found = score("c_code_summarization", row, "Return the argument twice.")
    assert not found.correct and 0 < found.value < 1
    assert "ROUGE-L" in found.detail and "BLEU-4" in found.detail
    both = score("c_code_summarization", row, "Here.\nThe function doubles.")
    assert both.extracted == "Here.\nThe function doubles." and both.detail.startswith("all of it")


BAD = {
    "code": r"\boxed{__import__('os').system('touch hacked')}",
    "tower": r"\boxed{9^9^9^9}", "braces": r"\boxed{" + "{" * 10_000 + "}" * 10_001,
    "digits": r"\boxed{" + "1" * 1_000_000 + "}", "surrogates": "\\boxed{\ud800\udc00\ud800}",
    "nul": "\\boxed{\0}", "right to left": "\\boxed{\u202e77\u200f}", "open": "\\boxed{" * 1000,
    "many": r"\boxed{1} " * 50, "factorials": r"\boxed{" + "9" + "!" * 1000 + "}",
    "words": r"\boxed{" + "word " * 200_000 + "}", "lines": "word\n" * 200_000,
    "answers": "answer is " * 100_000, "thoughts": "<think></think>" * 50_000,
    "wrappers": r"\boxed{" + r"\text{" * 5000 + "x" + "}" * 5001, "spaces": " " * 1_000_000,
    "stars": "*" * 1_000_000, "backslashes": "\\" * 1_000_000, "dollars": "$" * 1_000_000,
    "letters": "A) B) C) " * 100_000, "matrix": r"\boxed{\begin{pmatrix}" + r"1&" * 250_000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("name", [name for name in made.ROWS if not name.startswith("mmlu_pro_p")])
def test_hostile_answers_are_scored_in_under_a_second(name, kind):
    started = time.process_time()
    found = score(name, ROWS[name][0], BAD[kind])
    assert time.process_time() - started < 1
    assert 0 <= found.value <= 1 and (not found.correct or name == "ifeval")


@settings(max_examples=200, deadline=2000)
@given(
    st.text(st.characters(codec=None), max_size=200) | st.text("\\{}$boxed12ABC()<think>/ ,.^_-")
)
def test_no_output_raises(text):
    for name in ("winogrande", "squad", "coqa", "ifeval", "gsm8k", "consumer_qa", "scibench",
                 "c_code_summarization", "toy_sort"):  # fmt: skip
        for output in (text, f"\\boxed{{{text}}}", f"<think>{text}</think>{text}"):
            assert 0 <= score(name, ROWS[name][0], output).value <= 1


def test_nothing_a_model_wrote_can_run():
    for module in (scoring, qa, summary, jury, scoring.ifeval, scoring.sentences):
        source = inspect.getsource(module)
        for word in ("eval(", "exec(", "import os", "subprocess", "sympy", "pickle"):
            assert word not in source, (module, word)
