"""What words do to the value of an answer: most nothing, a closed class changes it.

    meaning_of_words(tokens("less than 18 apples"))    # (["less", "than"], [], ["less", ...])

An unknown noun is a count, so that 18 apples is 18; an -ing form and "of" before a number change
it.
"""

import re

from scoring.latex.units import known

CHANGING = set(
    """nearly almost not no never non nor neither none cannot except excluding without wrong
    incorrect false less more fewer greater than least most exceeds exceed over under above below
    beyond between up within until till past before ago but besides half halves third thirds quarter
    fourth fifth sixth eighth tenth tenths hundreds thousands millions dozens hundredths thousandths
    root roots reciprocal inverse opposite remainder mod modulo choose factorial log""".split()
)
LOOSE = set("over between within up until till before past".split())  # $3 left over
DENYING = set("not no never non neither none cannot wrong incorrect false".split())
STATING = set("is are was were be equals equal".split())
QUANTITIES = set(  # "of" leaves these alone; half of, the square of, out of do change a number
    """total value answer number amount distance length width height area volume speed rate average
    mean median mode profit loss cost price sum maximum result age weight mass time score""".split()
)
TELLING = set(  # make two answers of the same numbers differ
    """am pm north south east west increase decrease gain profit loss true false yes no january
    february march april may june july august september october november december""".split()
)
PARTICIPLE = re.compile(
    "(?!(?:remain|follow|result|work|miss|morn|even|spr|str|th|r|k|w|build|paint|ceil)ings?$)[a-z]+ing"
)
SENTENCE = 3  # words with which an answer is a sentence; two of them are compared word by word


def has_value(answer: list[str]) -> bool:
    """Whether anything but words is there."""
    return any(t[0] != '"' and (t[-1].isalnum() or t in "∅ℝ∞π") for t in answer)


def meaning_of_words(answer: list[str]) -> tuple[list[str], list[str], list[str]]:
    """(those that change a number, those that tell two answers apart, all but units) in order.

    What precedes "is" or = names the answer, and changes nothing unless it denies.
    """
    changing, words, started = [], [], False
    for i, token in enumerate(answer):
        started |= token[0].isdigit()
        word, after = token[1:].lower(), answer[i + 1 : i + 2]
        if not started and (token == "=" or token[0] == '"' and word in STATING):
            changing = [w for w in changing if w in DENYING]
        if token[0] != '"':
            continue
        is_noun = after and after[0][0] == '"'  # 18 more pages
        is_counted = (
            is_noun and i and answer[i - 1][-1] in "0123456789})" and word in ("more", "fewer")
        )
        if word == "of":
            is_changing = not is_noun and (words[-1:] or [""])[0] not in QUANTITIES
        else:
            is_loose = word in LOOSE or bool(PARTICIPLE.fullmatch(word))
            is_changing = (word in CHANGING or is_loose) and not is_counted
            is_changing = is_changing and not (is_loose and started and answer[i - 1][0] == '"')
        changing += [word] if is_changing and word not in STATING else []
        words += [] if known(token[1:]) or word in ("a", "an", "the") else [word]
    return changing, [w for w in words if w in TELLING], words
