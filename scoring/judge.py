"""The paper's jury: a model reads the question, the ending of an answer and the reference.

    judge.majority([judge.verdict(text) for text in what_the_judges_wrote])

It extracts both final results, compares their meaning and ends in \\boxed{yes} or \\boxed{no}. For
IFEval it sees the instruction and no reference. The prompts are our own: the paper's are not out.
"""

import re

ENDING = 2_000  # characters of an answer that a judge sees
COMPARE = """\
Decide whether an answer to a question is correct. You see the question, the reference answer and \
the ending of the answer.

Question:
{question}

Reference answer:
{reference}

Ending of the answer:
{ending}

First extract the final result of the answer, then that of the reference. Compare what they mean, \
not how they are written. An answer without a final result is not correct. End with \\boxed{{yes}} \
if the two mean the same, otherwise with \\boxed{{no}}."""

INSTRUCTION = """\
Decide whether a response follows an instruction.

Instruction:
{question}

Response:
{ending}

First list every explicit requirement of the instruction on the form of the response: length, \
words, punctuation, language, layout. Then check them one by one; how good the response is \
otherwise does not matter. End with \\boxed{{yes}} if all of them hold, otherwise with \
\\boxed{{no}}."""


def prompt(question: str, answer: str, reference: str | None) -> str:
    """What a judge is asked. answer: what comes after the thinking. No reference: IFEval."""
    if reference is None:
        return INSTRUCTION.format(question=question, ending=answer)
    return COMPARE.format(question=question, ending=answer[-ENDING:], reference=reference)


def verdict(text: str) -> bool | None:
    """The last \\boxed{yes} or \\boxed{no} after the judge's own thinking; None without one."""
    text = text.rpartition("</think>")[2]
    found = re.findall(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*(yes|no)\b", text, re.IGNORECASE)
    return found[-1].lower() == "yes" if found else None


def majority(votes: list[bool | None]) -> bool:
    """More than half say yes; a judge without a verdict says no."""
    return 2 * sum(vote is True for vote in votes) > len(votes)
