"""IFEval (Zhou et al. 2023, arXiv 2311.07911): the 25 verifiable instructions, strict and loose.

    check(prompt, response, ["punctuation:no_comma"], [{}])  # {"strict": [True], "loose": [True]}

Each instruction is read as the official checker reads it, quirks included (docs/benchmarks.md names
them). Every pattern runs in time linear in the response. Patterns come from the benchmark's rows,
as they do officially; the response is only ever searched.
"""

import json
import re
from functools import cache

from scoring.sentences import count_sentences, upper_words


def check(prompt: str, response: str, instruction_ids: list[str], kwargs: list[dict]) -> dict:
    """{"strict": [bool], "loose": [bool]}, one verdict an instruction.

    kwargs: the arguments of each instruction; nulls (the Hub pads with them) count as absent.
    Loose: followed by any of eight variants (first line, last line, both or none removed, with or
    without asterisks). An empty response follows nothing. ValueError for an unknown instruction or
    one without its arguments.
    """
    strict, loose = [], []
    for name, given in zip(instruction_ids, kwargs, strict=True):
        if name not in CHECKS:
            raise ValueError(f"{name}: not one of IFEval's {len(CHECKS)} instructions")
        arguments = {key: value for key, value in given.items() if value is not None}
        follows, needed = CHECKS[name]
        if missing := [key for key in needed if key not in arguments]:
            raise ValueError(f"{name}: needs {', '.join(missing)}")
        values = [arguments[key] for key in needed]
        verdicts = (bool(text.strip()) and follows(text, *values) for text in variants(response))
        strict.append(next(verdicts))
        loose.append(strict[-1] or any(verdicts))
    return {"strict": strict, "loose": loose}


def variants(response: str) -> list[str]:
    """The response, then what differs from it among its seven loose variants."""
    lines = response.split("\n")
    shorter = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    texts = [response, *shorter]
    texts += [text.replace("*", "") for text in texts]
    return list(dict.fromkeys(texts))


def compares(count: int, relation: str, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


@cache
def pattern(text: str, flags: int = re.IGNORECASE) -> re.Pattern:
    """As the official checker does, a keyword is a pattern; where it cannot be one, plain text."""
    try:
        return re.compile(text, flags)
    except re.error:
        return re.compile(re.escape(text), flags)


@cache
def detector():
    import langdetect

    langdetect.DetectorFactory.seed = 0  # it samples: unseeded, short texts vary from run to run
    return langdetect


def is_language(text: str, language: str) -> bool:
    """By langdetect, which reads 10,000 characters; text it can make nothing of counts as right."""
    library = detector()
    try:
        return library.detect(text[:20_000]) == language
    except library.LangDetectException:
        return True


# ---- keywords -------------------------------------------------------------------------------


def has_keywords(text: str, keywords: list[str]) -> bool:
    return all(pattern(word).search(text) for word in keywords)


def keyword_frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    return compares(len(pattern(keyword.strip()).findall(text)), relation, frequency)


def avoids_words(text: str, forbidden: list[str]) -> bool:
    return not any(pattern(rf"\b{word}\b").search(text) for word in forbidden)


def letter_frequency(text: str, letter: str, relation: str, frequency: int) -> bool:
    return compares(text.lower().count(letter.strip().lower()), relation, frequency)


# ---- lengths --------------------------------------------------------------------------------


def number_of_sentences(text: str, relation: str, threshold: int) -> bool:
    return compares(count_sentences(text), relation, threshold)


def number_of_words(text: str, relation: str, threshold: int) -> bool:
    return compares(len(re.findall(r"\w+", text)), relation, threshold)


def number_of_paragraphs(text: str, wanted: int) -> bool:
    """Parted by ***; an empty one counts as none at either end and fails in between."""
    parts = [part.strip() for part in text.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == wanted


def nth_paragraph_first_word(text: str, nth: int, word: str, wanted: int) -> bool:
    """Parted by blank lines. The word ends at punctuation; quotes before it are passed over."""
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if not 1 <= nth <= count or not (paragraph := paragraphs[nth - 1].strip()):
        return False
    first = paragraph.split()[0].lstrip("'").lstrip('"')
    return count == wanted and re.split("[.,?!'\"]", first)[0].lower() == word.lower()


# ---- content and format ---------------------------------------------------------------------


def number_of_placeholders(text: str, wanted: int) -> bool:
    """[...] on one line; the bracket closes at the first ]."""
    count = 0
    for line in text.split("\n"):
        opening = line.find("[")
        while opening >= 0 and (closing := line.find("]", opening)) >= 0:
            count += 1
            opening = line.find("[", closing)
    return count >= wanted


def has_postscript(text: str, marker: str) -> bool:
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(pattern(known.get(marker.strip(), marker.strip().lower()), 0).search(text.lower()))


def number_of_bullets(text: str, wanted: int) -> bool:
    """Lines that begin with * (and no second one) or with -. Exactly as many as wanted."""
    stars = re.findall(r"^[^\S\n]*+\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*+-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == wanted


def number_of_highlights(text: str, wanted: int) -> bool:
    """*...* on one line with something in it; **...** counts as well, once more."""
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(part.strip("*").strip()) for part in single + double) >= wanted


def number_of_sections(text: str, splitter: str, wanted: int) -> bool:
    """`splitter` followed by a number, as often as wanted."""
    return len(pattern(rf"{splitter.strip()}\s?\d+", 0).findall(text)) >= wanted


def is_json(text: str) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str) -> bool:
    """<<...>> on one line, from its first << to its last >>, with something in between."""
    for line in text.split("\n"):
        opening, closing = line.find("<<"), line.rfind(">>")
        if 0 <= opening < closing - 2:
            if line[opening : closing + 2].lstrip("<").rstrip(">").strip():
                return True
    return False


def is_one_of_three(text: str) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def has_two_responses(text: str) -> bool:
    """Two different ones parted by ******; an empty part is allowed at either end."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeats_prompt(text: str, prompt: str) -> bool:
    return text.strip().lower().startswith(prompt.strip().lower())


def ends_with(text: str, phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(phrase.strip().lower())


def is_quoted(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def upper_word_frequency(text: str, relation: str, frequency: int) -> bool:
    return compares(upper_words(text), relation, frequency)


CHECKS = {  # instruction: (check, the kwargs it takes, in order)
    "keywords:existence": (has_keywords, ["keywords"]),
    "keywords:frequency": (keyword_frequency, ["keyword", "relation", "frequency"]),
    "keywords:forbidden_words": (avoids_words, ["forbidden_words"]),
    "keywords:letter_frequency": (letter_frequency, ["letter", "let_relation", "let_frequency"]),
    "language:response_language": (is_language, ["language"]),
    "length_constraints:number_sentences": (number_of_sentences, ["relation", "num_sentences"]),
    "length_constraints:number_paragraphs": (number_of_paragraphs, ["num_paragraphs"]),
    "length_constraints:number_words": (number_of_words, ["relation", "num_words"]),
    "length_constraints:nth_paragraph_first_word": (
        nth_paragraph_first_word,
        ["nth_paragraph", "first_word", "num_paragraphs"],
    ),
    "detectable_content:number_placeholders": (number_of_placeholders, ["num_placeholders"]),
    "detectable_content:postscript": (has_postscript, ["postscript_marker"]),
    "detectable_format:number_bullet_lists": (number_of_bullets, ["num_bullets"]),
    "detectable_format:constrained_response": (is_one_of_three, []),
    "detectable_format:number_highlighted_sections": (number_of_highlights, ["num_highlights"]),
    "detectable_format:multiple_sections": (
        number_of_sections,
        ["section_spliter", "num_sections"],
    ),
    "detectable_format:json_format": (is_json, []),
    "detectable_format:title": (has_title, []),
    "combination:two_responses": (has_two_responses, []),
    "combination:repeat_prompt": (repeats_prompt, ["prompt_to_repeat"]),
    "startend:end_checker": (ends_with, ["end_phrase"]),
    "startend:quotation": (is_quoted, []),
    "change_case:capital_word_frequency": (
        upper_word_frequency,
        ["capital_relation", "capital_frequency"],
    ),
    "change_case:english_capital": (lambda t: t.isupper() and is_language(t, "en"), []),
    "change_case:english_lowercase": (lambda t: t.islower() and is_language(t, "en"), []),
    "punctuation:no_comma": (lambda text: "," not in text, []),
}
