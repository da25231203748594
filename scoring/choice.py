"""The letter that answers a multiple-choice question.

    extract(r"... so the answer is \\boxed{\\text{(B)}}.", ["4 apples", "5 apples"])    # "B"
    extract("The answer is 5 apples.", ["4 apples", "5 apples"])                      # "B"

The last \\boxed{} decides alone; without one, the last "answer is", then a line that is an option.
An answer that names no option, or several, is None.
"""

import re
from functools import lru_cache

from data.benchmarks import LETTERS
from scoring import latex, stated
from scoring.latex.tokens import respell

LONGEST, EXPRESSION = 4_000, 200  # characters of a candidate that are read, and as mathematics
MARKUP = re.compile(
    r"\\(?:text)?color\s*\{[^{}]*\}|\\(?:text\w*|math\w+|boxed|fbox|left|right|underline|rm|bf|"
    r"[()\[\]{},;:! #])|[\"“”*`${}]|^#+"
)
OPTION = re.compile(
    r"(?i)[\s:]*(?:(?:indeed|therefore|thus|hence|then|actually),?\s+)?"
    r"(?:(?:the\s+)?(?:(?:correct|final|best|right)\s+)*(?:option|choice|answer|letter)\b"
    r"(?:\s+is)?\s*:?)?\s*[(\[]*\s*(?P<letter>[A-Ja-j])(?P<mark>\s*[)\].:,;]+|\s*$|(?=\s+[-–—]\s))?"
)
NO_LETTER = re.compile(r"[A-Za-z0-9'’=^_+*/<>≤≥≈!%°|&]|\s+[=+*/^<>≤≥≈-]")
SEVERAL = re.compile(r"[)\].\s]*(?:,|;|&|/|and\b|or\b)\s*\(?[A-J]\b")
BECAUSE = re.compile(r"\s*(?:because|since|as|for|is)\b")
DENIED = re.compile(r"[)\]*\s]*\s(?:is|are)\s+(?:\w+\s+)?(?:not|wrong|incorrect|false)\b")
PHRASE = re.compile(  # see stated.PHRASE
    r"(?i)\b(?:ans\.?|answers?|correct (?:option|choice|statement)s?|(?:option|choice) that \w+)\b"
    r"[^\n.:=$]{0,60}?(?:\b(?:is|(?<!not )be)\b|:|=|\s[-–—]\s)[\s*:]*(?:(?<=\n)-\s+)?(?=\S)"
    r"|<answer>\s*|(?:答案|选项|[以故应可]选)\s*(?:是|为)?\s*:?[\s*]*"
)
VERDICT = re.compile(
    r"\b([A-J])\)?[*\s]+is\s+(?:the\s+)?(?:most\s+|only\s+)?(?:correct|right|best|answer|true)\b"
    r"|\b(?:[Cc]hoose|[Ss]elect|[Pp]ick|go with)\s+(?:option\s+)?[(*]*([A-J])\b"
)
MENTION = re.compile(
    r"(?:\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*\(?([A-J])\b|\(([A-J])\))(?!" + DENIED.pattern + ")"
)
NUMBERED = re.compile(r"(option ?|choice ?)?([1-9])(?= |$).*")
FINAL = re.compile(r"(?:\bis|'s|’s|(?<!not )\bbe|\b[Ss]o,?|:)\s*[(*]*([A-J])\W*$")
NEGATED = re.compile(r"\b(?:not|cannot|neither|nor|except|wrong|incorrect|false)\b|n't\b")
ENDING = re.compile(r".*(?:\b(?:is|are|be|equals)\s|[:=]\s)")
WIDE = str.maketrans({"：": ":", "，": ",", "。": ". ", "（": "(", "）": ")"})


def extract(text: str, options: list[str]) -> str | None:
    """Returns the letter of the option that `text` chooses, or None; options: their texts."""
    text = stated.after_thinking(text).translate(WIDE)
    options = [unlabelled(option[:LONGEST], LETTERS[i]) for i, option in enumerate(options)]
    answer, how = stated.in_box(text)
    if how:
        return chosen(answer, options) if answer else None
    text = text[-stated.TAIL :]
    for rest in stated.after_phrases(PHRASE, text, 5, LONGEST):
        for candidate in (rest.split("\n")[0], stated.STOP.split(rest)[0]):
            if letter := chosen(candidate, options):
                return letter
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    return in_lines(lines, text, options) if lines else None


def in_lines(lines: list[str], text: str, options: list[str]) -> str | None:
    """The letter that begins a line, is the first or last line, or is named in the last one."""
    last = lines[-1]
    leads = {letter for line in lines[:50] if (letter := leading(plain(line), options)[0])}
    ends = {letter for line in (lines[0], last) if (letter := chosen(line, options))}
    if len(ends | leads) == 1:
        return (ends | leads).pop()
    mentions = {a or b for a, b in VERDICT.findall(text) or MENTION.findall(last)}
    mentions = mentions or set(FINAL.findall(last))
    if max(len(ends), len(leads), len(mentions)) > 1:
        return None
    if mentions:
        return (mentions & set(LETTERS[: len(options)]) or {None}).pop()
    named = named_in(normal(last), [normal(option) for option in options])
    if not named and not NEGATED.search(last) and (ending := ENDING.match(last)):
        return chosen(last[ending.end() :], options)
    return LETTERS[named[0]] if len(named) == 1 else None


def chosen(candidate: str, options: list[str]) -> str | None:
    """The letter of the one option that a boxed answer, a line or a phrase's end is."""
    candidate = candidate[:LONGEST].strip()
    letter, rest = leading(plain(candidate), options)
    exact = [i for i, option in enumerate(options) if candidate in (option, rf"\text{{{option}}}")]
    if len(exact) == 1 and candidate not in LETTERS:
        return LETTERS[exact[0]]
    answer, texts = normal(candidate), [normal(option) for option in options]
    if letter and answer not in texts:
        others = [LETTERS[i] for i, text in enumerate(texts) if text == normal(rest)]
        return None if rest.strip() and others and letter not in others else letter
    if len(answer) == 1 and letter:
        return letter
    same = [i for i, text in enumerate(texts) if text == answer]
    same = same or [i for i, t in enumerate(texts) if t.replace(" ", "") == answer.replace(" ", "")]
    if not same and len(candidate) <= EXPRESSION and re.search(r"[\d\\]|^.{,20}$", candidate):
        same = [i for i, option in enumerate(options) if latex.equivalent(candidate, option)]
    if not same and len(named := named_in(re.sub("^[a-j] .*", "", answer), texts)) < 2:
        is_start = [starts(answer, text) or starts(text, answer, 12) for text in texts]
        same = [i for i in range(len(texts)) if is_start[i]] or named
    if not same and (number := NUMBERED.fullmatch(answer)) and not re.search(r"\d", "".join(texts)):
        same = [int(number[2]) - 1] if number[1] or len(options) == 2 else []
        same = [i for i in same if i < len(options)]
    return LETTERS[same[0]] if len(same) == 1 else None


def leading(line: str, options: list[str]) -> tuple[str | None, str]:
    """(letter, the text after it) of a line that begins with an option's letter; else (None, "").

    C, (C), C) 5, C. text, Option C, the answer is C; not C = 5. A, I and small letters are also
    words, so that a mark or the end of the line must follow them.
    """
    match = OPTION.match(line)
    if not match or match["letter"].upper() not in LETTERS[: len(options)]:
        return None, ""
    letter, mark, rest = match["letter"], match["mark"], line[match.end() :]
    after = line[match.end("letter") :]
    if SEVERAL.match(after) or DENIED.match(after):
        return None, ""
    if (mark or "").strip(" ,") or not rest.strip() or BECAUSE.match(rest):
        return letter.upper(), rest
    is_word = letter not in "BCDEFGHJ" or NO_LETTER.match(rest)
    return (None, "") if is_word and mark is None else (letter.upper(), rest)


def plain(line: str) -> str:
    """The line without Markdown and LaTeX around its words."""
    return " ".join(MARKUP.sub(" ", line[:LONGEST]).split()).strip("'")


@lru_cache(maxsize=1_000)  # each option is compared with every candidate
def normal(text: str) -> str:
    """Words and symbols that tell options apart: no case, markup, quotes, spaces or end stop."""
    text = re.sub(r"[\s\"'“”‘’`,;:]+", " ", plain(respell(text, thousands=False)))
    return re.sub(r"^(?:the|an?) (?=.)", "", text.strip().rstrip(".").casefold())


def unlabelled(option: str, letter: str) -> str:
    """AQuA's options carry their letters, some of them twice: A)A)59."""
    return re.sub(rf"^(?:\s*\(?{letter}\))+", "", option).strip()


def starts(text: str, head: str, least: int = 2) -> bool:
    """Whether `text` begins with the words of `head`, at least `least` characters of them."""
    return len(head) >= least and re.match(rf"{re.escape(head)}(?![\w^])", text) is not None


def named_in(line: str, texts: list[str]) -> list[int]:
    """The options whose texts occur in a line, without those within longer ones; all normal()."""
    if NEGATED.search(line):
        return []
    present = [t for t in texts if len(t) > 3 and t in line]
    present = [t for t in present if re.search(rf"(?<![\w./-]){re.escape(t)}(?![\w^])", line)]
    longest = [t for t in present if not any(t in other and t != other for other in present)]
    return [i for i, text in enumerate(texts) if text in longest]
