r"""The letter that answers a multiple-choice question.

    extract(r"... so the answer is \boxed{\text{(B)}}.", ["4 apples", "5 apples"])      # "B"
    extract("The answer is 5 apples.", ["4 apples", "5 apples"])                      # "B"

A statement (stated.py) names an option by its letter, its text or its value. One that names none,
or several, is None; so is one that merely begins as an option does: 24.5 is not 24.
"""

import re
from functools import lru_cache

from data.benchmarks import LETTERS
from scoring import latex, stated
from scoring.latex.tokens import respell

LONGEST, EXPRESSION = 4_000, 200  # characters of a candidate that are read, and as mathematics
MARKUP = re.compile(
    r"\\(?:text)?color\s*\{[^{}]*\}|\\(?:text\w*|math\w+|[bf]box|boxed|left|right|underline|emph|rm"
    r"|bf|it|[()\[\]{},;:! #])|[\"“”*`${}]|^#+"
)
LETTER = re.compile(
    r"(?i)[\s:]*(?:(?:so|indeed|therefore|thus|hence|then|actually),?\s+)?"
    r"(?>(?:the\s+)?(?:(?:correct|final|best|right)\s+)*(?:option|choice|answer|letter)\b"
    r"(?:\s+is\b)?\s*:?\s*)*+(?P<open>[(\[]*)\s*(?P<letter>[A-Ja-j])(?![\w'’^])"
    r"(?P<mark>\s*(?:[)\]]+[.:,;]?|[.:,;]+(?=\s|$))|\s*$|(?=\s+[-–—]\s))?"
)
SEVERAL = re.compile(
    r"[)\].\s]*(?:,|;|&|/|\band\b|\bor\b)\s*(?:and\b|or\b)?\s*\(?[A-J]\b|\)\s*\(?[A-HJ]\)"
)
BECAUSE = re.compile(r"\W*(?:because|since|as|for|is)\b")
DENIED = re.compile(r"[)\]*\s]*\s(?:is|are)\s+(?:\w+\s+)?(?:not|wrong|incorrect|false)\b")
NEGATED = re.compile(
    r"(?i)\b(?:not|cannot|neither|nor|no|except|wrong|incorrect|false|contradicts?|unlikely)\b|n[’']t\b"
)
SUBJECT = re.compile(  # X is the right choice
    r"(?:^|(?<=[.!?,:]))\s*(?:(?:so|thus|hence|therefore|then),?\s+)?(?P<subject>[^.!?\n]{1,200}?)"
    r"[*\s]+(?:is|would be|must be)\s+(?:the\s+)?(?:most\s+|only\s+)?"
    r"(?:correct|right|best|true|answer)\b", re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
CHOSEN = re.compile(r"\b(?:[Cc]hoose|[Ss]elect|[Pp]ick|go with)\s+(?:option\s+)?[(*]*([A-J])\b")
MENTION = re.compile(
    r"(?:\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*\(?([A-J])\b|\(([A-J])\))(?!" + DENIED.pattern + ")"
)
FINAL = re.compile(r"(?:\bis|'s|’s|\bbe|\b[Ss]o,?|:)\s*[(*]*([A-J])\W*$")
SENTENCE = re.compile(r"(?<=[.!?])(?<![ap]\.m\.)\s+|,\s+(?=(?:so|thus|hence|therefore)\b)")
NUMBERED = re.compile(r"(?:option|choice) ?([1-9])|([12])")
STATEMENT = re.compile(r"\bstatement (?:\d|[iv]+)(?: is)?|\band\b")
NUMERALS = re.compile(r"(?:(?:[ivx]+|only|and|both|statements?|alone|&) ?)+")
WIDE = str.maketrans({"：": ":", "，": ",", "。": ". ", "（": "(", "）": ")"})


def extract(text: str, options: list[str]) -> str | None:
    """Returns the letter of the option that `text` chooses, or None; options: their texts."""
    options = [unlabelled(option[:LONGEST], LETTERS[i]) for i, option in enumerate(options)]
    text = text.translate(WIDE)
    for statement, how in stated.statements(text):
        if how.endswith("box") or how == "boxed":
            return chosen(statement, options)
        clause = stated.CLAUSE.split(statement)[0]
        sentence = SENTENCE.split(statement)[0]
        for candidate in dict.fromkeys((statement, sentence, clause)) if how != "last line" else ():
            if letter := chosen(candidate, options):
                return letter
        if how == "phrase" and (letter := mentioned(clause, options)):
            return letter
    return in_lines(stated.plain(stated.after_thinking(text)[-stated.TAIL :]), options)


def in_lines(text: str, options: list[str]) -> str | None:
    """The option that begins a line, is the first or last line, or is named in the last one."""
    lines = [line.strip() for line in text.split("\n") if line.strip()] or [""]
    leads = {letter for line in lines[:50] if (letter := leading(plain(line), options)[0])}
    ends = {letter for line in (lines[0], lines[-1]) if (letter := chosen(line, options))}
    if len(ends | leads) == 1:
        return (ends | leads).pop()
    if max(len(ends), len(leads)) > 1:
        return None
    subjects = [m["subject"] for m in SUBJECT.finditer(text) if not NEGATED.search(m["subject"])]
    right = {letter for subject in subjects[-20:] if (letter := chosen(subject, options))}
    right |= set(CHOSEN.findall(text)) & set(LETTERS[: len(options)])
    if right:
        return right.pop() if len(right) == 1 else None
    return mentioned(lines[-1], options)


def mentioned(line: str, options: list[str]) -> str | None:
    """The one option that a line's sentences without a negation name, by letter, text or value."""
    said = [stated.CLAUSE.split(s)[0] for s in SENTENCE.split(line)]
    said = [sentence for sentence in said if not NEGATED.search(sentence)]
    letters = {a or b for sentence in said for a, b in MENTION.findall(sentence)}
    letters = letters or {letter for sentence in said for letter in FINAL.findall(sentence)}
    if letters:
        letter = letters.pop()
        return letter if not letters and letter in LETTERS[: len(options)] else None
    texts = [(option, normal(option)) for option in options]
    named = {i for sentence in said for i in named_in(sentence, texts)}
    if len(named) == 1:
        return LETTERS[named.pop()]
    value = stated.announced(said[-1]) if said and not named else None
    return chosen(value, options) if value and value != line else None


def chosen(candidate: str, options: list[str]) -> str | None:
    """The letter of the one option that a boxed answer, a line or a phrase's end is."""
    candidate = candidate[:LONGEST].strip()
    bare = plain(candidate)
    for spelled in (str, plain):
        found = [i for i, option in enumerate(options) if spelled(option) == spelled(candidate)]
        if len(found) == 1 and bare not in LETTERS:
            return LETTERS[found[0]]
    letter, rest = leading(bare, options)
    if letter and not rest.strip():
        return letter
    answer, texts = normal(candidate), [normal(option) for option in options]
    found = [i for i, text in enumerate(texts) if text == answer]
    if found:
        return LETTERS[found[0]] if len(found) == 1 else None
    if letter:
        others = [LETTERS[i] for i, text in enumerate(texts) if text == normal(rest)]
        return letter if not others or letter in others else None
    for same in (is_spelled_alike, is_of_value, is_cut_off, is_explained, is_numbered):
        found = [i for i in range(len(options)) if same(candidate, answer, i, options, texts)]
        if found:
            return LETTERS[found[0]] if len(found) == 1 else None
    return None


# ---- a candidate and an option: their spellings, then both normal() ---------------------------


def is_spelled_alike(candidate, answer, i, options, texts) -> bool:
    """Without spaces and the labels of statements; numerals of statements as a set."""
    if NUMERALS.fullmatch(answer) and NUMERALS.fullmatch(texts[i]):
        return set(re.findall(r"\b[ivx]+\b", answer)) == set(re.findall(r"\b[ivx]+\b", texts[i]))
    a, b = (STATEMENT.sub("", text).replace(" ", "") for text in (answer, texts[i]))
    return a == b != ""


def is_of_value(candidate, answer, i, options, texts) -> bool:
    """Equal as mathematics; numerals of statements are none."""
    is_short = len(candidate) <= EXPRESSION and re.search(r"[\d\\^=+*/<>|√π∞-]|^\w{,6}$", candidate)
    return (
        bool(is_short)
        and not NUMERALS.fullmatch(answer)
        and latex.equivalent(candidate, options[i])
    )


def is_cut_off(candidate, answer, i, options, texts) -> bool:
    """The beginning of the option, at least 12 characters and whole words of it."""
    return len(answer) >= 12 and re.match(re.escape(answer) + r"(?![\w^])", texts[i]) is not None


def is_explained(candidate, answer, i, options, texts) -> bool:
    """The option's words, then why: a reason, or a sentence that follows."""
    reason = re.split(
        r"(?i),?\s+(?:because|since|as|which|so)\b|[.;,]\s+(?=[a-z])|\s[-–—(]", candidate
    )
    return len(reason) > 1 and texts[i] != "" and normal(reason[0]) == texts[i]


def is_numbered(candidate, answer, i, options, texts) -> bool:
    """Option 2; of two options without a number 2 alone."""
    number = NUMBERED.fullmatch(answer)
    if not number or re.search(r"\d", "".join(texts)) or number[2] and len(options) > 2:
        return False
    return int(number[1] or number[2]) == i + 1


def leading(line: str, options: list[str]) -> tuple[str | None, str]:
    """(letter, the text after it) of a line that begins with an option's letter; else (None, "").

    C, (C), C) 5, C. text, Option C, the answer is C; C: text and C text for that option's own text,
    as D: the distance defines a variable. A, I and small letters are also words, so that a mark or
    the end of the line must follow them.
    """
    match = LETTER.match(line)
    if not match or match["letter"].upper() not in LETTERS[: len(options)]:
        return None, ""
    letter, mark, rest = match["letter"], match["mark"], line[match.end() :]
    after = line[match.end("letter") :]
    if SEVERAL.match(after) or DENIED.match(after):
        return None, ""
    if not rest.strip() or BECAUSE.match(rest) and (mark is not None or letter.isupper()):
        return letter.upper(), ""
    if mark is not None and mark.strip(" ,;:") or mark == "" and not match["open"]:
        return letter.upper(), rest
    own, said = normal(options[LETTERS.index(letter.upper())]), normal(rest.strip(" ()"))
    is_own = (
        said == own or len(said) > 3 and own.startswith(said) or own and said.startswith(own + " ")
    )
    is_word = mark is None and letter not in "BCDEFGHJ"
    return (letter.upper(), rest) if is_own and not is_word else (None, "")


def plain(line: str) -> str:
    """The line without Markdown and LaTeX around its words."""
    return unmarked(stated.MARKDOWN.sub("", line[:LONGEST]))


def unmarked(line: str) -> str:
    return " ".join(MARKUP.sub(" ", line).split()).strip("'")


@lru_cache(maxsize=1_000)  # each option is compared with every candidate
def normal(text: str) -> str:
    """Words and symbols that tell options apart: no case, markup, quotes, spaces or end stop."""
    text = respell(stated.MARKDOWN.sub("", text[:LONGEST]), thousands=False)
    text = re.sub(r"[\s\"'“‘”’`,;:]+", " ", unmarked(text))
    return re.sub(r"^(?:the|an?) (?=.)", "", text.strip().rstrip(".").casefold())


def unlabelled(option: str, letter: str) -> str:
    """AQuA's options carry their letters, some of them twice: A)A)59."""
    return re.sub(rf"^(?:\s*\(?{letter}\))+", "", option).strip()


def named_in(sentence: str, texts: list[tuple[str, str]]) -> list[int]:
    """The options of words, (spelling, normal()), whose texts occur in a sentence, without those
    within longer ones. Short ones count as they are spelled."""
    line, spelled = normal(sentence), plain(sentence)
    words = [(i, *text) for i, text in enumerate(texts) if re.search(r"[a-z]{2}", text[1])]
    words = [word for word in words if not re.search(r"\d|\\", word[1])]
    present = [
        (i, text)
        for i, option, text in words
        if re.search(rf"(?<![\w./-]){re.escape(text)}(?![\w^])", line)
        and (len(text) > 3 or re.search(rf"\b{re.escape(option)}\b", spelled))
    ]
    return [i for i, t in present if not any(t in other and t != other for _, other in present)]
