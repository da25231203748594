"""Counts sentences and upper-case words as NLTK does, which IFEval's checker calls.

Sentences follow Punkt (Kiss and Strunk 2006) with the abbreviations, frequent sentence starters and
rules of NLTK's English model. Of its table of 20,000 words' spellings, which says whether a
capital letter after "p.m." or "..." begins a sentence, only the common words are kept here, so the
two can differ there; LOG.md has how often they do.
"""

import re
from functools import lru_cache
from itertools import zip_longest

# What ends in a period without ending a sentence, in NLTK's English model.
ABBREVIATIONS = set(
    """mr mrs ms dr prof messrs st sr jr adm col gen lt maj rep reps sen inc corp co cos ltd bros
    cie a.m p.m u.s u.k u.n u.s.a u.s.s.r d.c l.a n.y n.j n.c s.c n.h n.m w.va ph.d m.b.a a.d jan
    feb aug sep sept oct nov dec tues wed fri ala ariz calif colo conn fla ga ill kan ky mich minn
    nev okla ore pa tenn va vt wash wis ave ct ft mg yr vs ok chg sw a.a a.c a.g a.h a.s a.t b.f
    b.v c.v d.h d.w e.f e.h e.l e.m f.g f.j g.d g.f g.k h.c h.f h.m j.b j.c j.j j.k j.p j.r l.f l.p
    m.j n.d n.v r.a r.h r.i r.j r.k r.t s.a s.g s.s t.j w.c w.r w.w""".split()
) | set("cdefghklmnprstvw")
STARTERS = set(
    """according although among both but despite even he however i if in indeed instead it many
    meanwhile moreover most nevertheless nonetheless nor sales separately similarly since so some
    the there these they this though thus under when while yet""".split()
)
# Words that have a capital only where they begin a sentence.
COMMON = set(
    """above accept adding address ahead allow almost along already always animals anyone anything
    apply approach ask become begin being believe better between beyond body bold bread break build
    call car careful carefully cause certainly check choose cold comfortable consider contact cool
    create creating dark depending details different does dogs doing done door early easily eating
    effective either eliminate else enjoy enough ensure especially essential ever example excellent
    exciting exercise experience explain explore fact famous final finally flight follow following
    forget gather giving going grab guess happy healthy hear helping her here host hot huge idea
    imagine important include including incredible indeed instead interested interesting into items
    kids known learn list listen living looking lunch meal mean mix morning need nor note nothing
    number overall pack page pain perfect person personal play please practice prepare pretty
    probably problem prompt proper provide put question questions recent regular relax remember
    remove right safe same seems serve simple simply sit so someone sometimes soon spend starting
    step still such taking team ten text thank thanks them things think though through thus tips
    together tomorrow treat true try trying turn type typically understand unfortunately unique
    unless unlike upon us using various very wait walk wear weather welcome went were whether which
    whole win wish within without wonderful words working writing yes yet your yourself
    zero""".split()
)
# More words that also occur in lower-case: after an initial ("Plan B. She") they begin a sentence.
LOWER = set("a an as at by do does for her his how is its my no of on our she to was we".split())
LOWER |= {"what", "you", *COMMON, *STARTERS} - {"i"}

TOKEN_END = r"""\s|$|[)";}\]*:@'({\[?!]|-{2,}|\.{2,}|(?:\.\s){2,}\."""
TOKEN = re.compile(
    rf"""(?x)-{{2,}}|\.{{2,}}|(?:\.\s){{2,}}\.
    |(?=[^("`{{\[:;&\#*@)}}\]\-,])\S+?(?={TOKEN_END}|,(?={TOKEN_END}))|\S"""
)
CANDIDATE = re.compile(r"""[.?!](?=[)";}\]*:@'({\[?!])""")
CLOSING = re.compile(r"""["')\]}]+?(?:\s+|(?=--)|$)""", re.MULTILINE)
NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?")
LONGEST = 200  # characters of a word that are looked at
MOST = 200_000  # characters of a text that are counted: 32k tokens of English have about 130,000


def count_sentences(text: str) -> int:
    """Returns how many sentences Punkt splits the text into."""
    text = text[:MOST]
    ends = list(breaks(text))
    starts = [0, *(start for _, start in ends)]
    stops = [*(stop for stop, _ in ends), len(text.rstrip())]
    count = passed = 0  # passed: closing quotes and brackets, which belong to the sentence before
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        following = text[starts[i + 1] : stops[i + 1]] if i + 1 < len(starts) else ""
        closing = CLOSING.match(following)
        count += closing is not None or start + passed < stop
        passed = closing.end() if closing else 0
    return count


def breaks(text: str):
    """Yields (where a sentence ends, where the next one starts), in order.

    A run of non-space characters is judged at the last of its . ? ! that comes before a space or a
    mark that is in no word, and at its very first character.
    """
    runs = [match.span() for match in re.finditer(r"\S+", text)]
    for (start, stop), following in zip_longest(runs, runs[1:]):
        ends = [match.end() for match in CANDIDATE.finditer(text, start, stop)]
        if text[stop - 1] in ".?!" and following:
            ends.append(stop)
        for end in [end for end in ends[:-1] if end == start + 1] + ends[-1:]:
            after, next_start = text[end : end + 1], end
            if end == stop:
                next_start = following[0]
                after = " " + text[next_start : min(following[1], next_start + LONGEST)]
            if has_end(text[max(start, end - LONGEST) : end] + after):
                yield end, next_start


@lru_cache(maxsize=4096)
def has_end(context: str) -> bool:
    """Whether a sentence ends before the last token of `context`."""
    tokens = TOKEN.findall(context)
    return any(ends_sentence(*pair) for pair in zip(tokens, tokens[1:], strict=False))


def ends_sentence(token: str, following: str) -> bool:
    if token in ("?", "!", "."):
        return True
    if not token.endswith("."):
        return False
    word, is_initial = token[:-1].lower(), re.fullmatch(r"[^\W\d]\.", token) is not None
    is_ellipsis, is_capital = token.endswith(".."), following[0].isupper()
    is_abbreviation = not is_ellipsis and bool({word, word.split("-")[-1]} & ABBREVIATIONS)
    starts = starts_sentence(following)
    if (is_abbreviation or is_ellipsis) and not is_initial:
        return starts is True or is_capital and bare(following) in STARTERS
    if is_abbreviation or not (is_initial or NUMBER.fullmatch(token)):
        return not is_abbreviation
    if starts is None and is_initial:
        return not is_capital or bare(following) in LOWER
    return starts is not False


def starts_sentence(token: str) -> bool | None:
    """Whether its spelling says that a word begins a sentence; None where it says nothing."""
    if token in tuple(";:,.!?"):
        return False
    if token[0].isupper() and bare(token) in COMMON:
        return True
    return False if token[0].islower() else None


def bare(token: str) -> str:
    return token.lower().removesuffix(".")


# ---- words ----------------------------------------------------------------------------------

# What NLTK's word tokenizer surrounds with spaces, as far as that separates upper-case letters.
MARKS = re.compile(r"""[;@#$%&?!*\[\](){}<>«»“”‘’„"]|`+|\.{2,}|--|''|[:,](?!\d)""")
ENDINGS = re.compile(r"(?<=[^' ])('[sSmMdD]|'|'ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ")
PAIRS = re.compile(
    r"(?i)\b(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(d)('ye)|(more)('n))\b"
    r"|\b(wan)(na)(?=\s)|('t)(is|was)\b"
)


def upper_words(text: str) -> int:
    """Returns how many of NLTK's word tokens are upper-case: I and A count, DON'T counts twice."""
    text = " " + " ".join(MARKS.sub(r" \g<0> ", text[:MOST]).split()) + " "
    text = ENDINGS.sub(r" \1 ", text)
    text = PAIRS.sub(lambda match: " ".join(part for part in match.groups() if part), text)
    return sum(token.isupper() for token in text.split())
