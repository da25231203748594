"""IFEval (Zhou et al. 2023, arXiv 2311.07911): the 25 verifiable instructions, strict and loose.

    check(prompt, response, ["punctuation:no_comma"], [{}])  # {"strict": [True], "loose": [True]}

Each instruction is read as the official checker reads it, including its quirks (docs/benchmarks.md
names them). Patterns come from the benchmark's rows, as they do officially; the response is only
searched, in time linear in its length.
"""

import inspect
import json
import re
from functools import cache

from scoring.sentences import count_sentences, upper_words


def check(prompt: str, response: str, instruction_ids: list[str], kwargs: list[dict]) -> dict:
    """Returns {"strict": [bool], "loose": [bool]}, one verdict an instruction.

    kwargs: the arguments of each instruction; nulls (the Hub pads with them) count as absent.
    Loose: any of eight variants follows the instruction (first line, last line, both or none
    removed, with or without asterisks). An empty response follows none. Raises ValueError for an
    unknown instruction or missing arguments.
    """
    strict, loose, texts = [], [], variants(response)
    for name, given in zip(instruction_ids, kwargs, strict=True):
        if name not in CHECKS:
            raise ValueError(f"{name}: not one of IFEval's {len(CHECKS)} instructions")
        needed = list(inspect.signature(CHECKS[name]).parameters)[1:]
        if missing := [key for key in needed if given.get(key) is None]:
            raise ValueError(f"{name}: needs {', '.join(missing)}")
        values = [given[key] for key in needed]
        verdicts = (bool(text.strip()) and CHECKS[name](text, *values) for text in texts)
        strict.append(next(verdicts))
        loose.append(strict[-1] or any(verdicts))
    return {"strict": strict, "loose": loose}


def variants(response: str) -> list[str]:
    """The response, then those of its seven loose variants that differ from it."""
    lines = response.split("\n")
    shorter = ["\n".join(rest).strip() for rest in (lines[1:], lines[:-1], lines[1:-1])]
    texts = [response, *shorter]
    texts += [text.replace("*", "") for text in texts]
    return list(dict.fromkeys(texts))


def compares(count: int, relation: str, threshold: int) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


def matches(text: str, keyword: str, flags: int = re.IGNORECASE) -> list:
    """A keyword is a pattern for the official checker; plain text where it is no valid one."""
    try:
        return re.findall(keyword, text, flags)
    except re.error:
        return re.findall(re.escape(keyword), text, flags)


@cache
def detector():
    import langdetect

    langdetect.DetectorFactory.seed = 0  # it samples: unseeded, short texts vary from run to run
    return langdetect


def is_language(text: str, language: str) -> bool:
    """By langdetect, which reads 10,000 characters; text of no language counts as right."""
    library = detector()
    try:
        return library.detect(text[:20_000]) == language
    except library.LangDetectException:
        return True


# ---- instructions: a text and the arguments that IFEval names ------------------------------


def nth_paragraph(text: str, nth_paragraph: int, first_word: str, num_paragraphs: int) -> bool:
    """Paragraphs are separated by blank lines. The word ends at punctuation; leading quotes are
    skipped."""
    paragraphs = [paragraph.strip() for paragraph in text.split("\n\n")]
    count = sum(map(bool, paragraphs))
    if not 1 <= nth_paragraph <= count or not (paragraph := paragraphs[nth_paragraph - 1]):
        return False
    word = re.split("[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0]
    return count == num_paragraphs and word.lower() == first_word.lower()


def parts(text: str, separator: str) -> list[str]:
    """What the separator separates; empty if a part between two of them is. Ends may be empty."""
    texts = [part.strip() for part in text.split(separator)]
    return [part for part in texts if part] if all(texts[1:-1]) else []


def has_two_responses(text: str) -> bool:
    responses = parts(text, "******")
    return len(responses) == 2 and responses[0] != responses[1]


def has_placeholders(text: str, num_placeholders: int) -> bool:
    """[...] on one line; the bracket closes at the first ]."""
    closings = re.findall(r"\[[^\n\]]*+(\]?)", text)  # "" for a bracket that never closes
    return sum(map(bool, closings)) >= num_placeholders


def has_postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(matches(text.lower(), known.get(marker, marker.lower()), 0))


def has_bullets(text: str, num_bullets: int) -> bool:
    """Lines that begin with - or a single *, exactly as many as asked for."""
    stars = re.findall(r"^[^\S\n]*+\*[^*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*+-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def has_highlights(text: str, num_highlights: int) -> bool:
    """*...* on one line with something in it; **...** counts as well, once more."""
    marked = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(words.strip("*").strip()) for words in marked) >= num_highlights


def has_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(matches(text, rf"{section_spliter.strip()}\s?\d+", 0)) >= num_sections


def is_json(text: str) -> bool:
    text = re.sub(r"^(```json)?(```Json)?(```JSON)?(```)?", "", text.strip()).removesuffix("```")
    try:
        json.loads(text.strip())
        return True
    except (ValueError, RecursionError):
        return False


def has_title(text: str) -> bool:
    """<<...>> on one line, from its first << to its last >>, with something in between."""
    spans = [(line, line.find("<<"), line.rfind(">>")) for line in text.split("\n")]
    titles = [line[start : end + 2] for line, start, end in spans if 0 <= start < end - 2]
    return any(title.lstrip("<").rstrip(">").strip() for title in titles)


CHECKS = {
    "keywords:existence": lambda text, keywords: all(matches(text, word) for word in keywords),
    "keywords:frequency": lambda text, keyword, relation, frequency: compares(
        len(matches(text, keyword.strip())), relation, frequency
    ),
    "keywords:forbidden_words": lambda text, forbidden_words: (
        not any(matches(text, rf"\b{word}\b") for word in forbidden_words)
    ),
    "keywords:letter_frequency": lambda text, letter, let_relation, let_frequency: compares(
        text.lower().count(letter.strip().lower()), let_relation, let_frequency
    ),
    "language:response_language": is_language,
    "length_constraints:number_sentences": lambda text, relation, num_sentences: compares(
        count_sentences(text), relation, num_sentences
    ),
    "length_constraints:number_paragraphs": lambda text, num_paragraphs: (
        len(parts(text, "***")) == num_paragraphs
    ),
    "length_constraints:number_words": lambda text, relation, num_words: compares(
        len(re.findall(r"\w+", text)), relation, num_words
    ),
    "length_constraints:nth_paragraph_first_word": nth_paragraph,
    "detectable_content:number_placeholders": has_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:constrained_response": lambda text: any(
        f"My answer is {word}." in text for word in ("yes", "no", "maybe")
    ),
    "detectable_format:number_highlighted_sections": has_highlights,
    "detectable_format:multiple_sections": has_sections,
    "detectable_format:json_format": is_json,
    "detectable_format:title": has_title,
    "combination:two_responses": has_two_responses,
    "combination:repeat_prompt": lambda text, prompt_to_repeat: (
        text.strip().lower().startswith(prompt_to_repeat.strip().lower())
    ),
    "startend:end_checker": lambda text, end_phrase: (
        text.strip().strip('"').lower().endswith(end_phrase.strip().lower())
    ),
    "startend:quotation": lambda text: re.fullmatch(r'\s*".*"\s*', text, re.DOTALL) is not None,
    "change_case:capital_word_frequency": lambda text, capital_relation, capital_frequency: (
        compares(upper_words(text), capital_relation, capital_frequency)
    ),
    "change_case:english_capital": lambda text: text.isupper() and is_language(text, "en"),
    "change_case:english_lowercase": lambda text: text.islower() and is_language(text, "en"),
    "punctuation:no_comma": lambda text: "," not in text,
}
