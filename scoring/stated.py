"""The answer in a model's output: what it boxed after its thinking, or what it says is its answer.

extract(r"<think>...</think> So it is $\\boxed{\\frac12}$.")   # ("\\\\frac12", "boxed")
extract("She makes $18 per day.")                             # ("$18", "number")
"""

import re

LONGEST = 2_000  # characters of an answer without a box
TAIL = 20_000  # characters at a text's end in which one is looked for

BRACE = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|([^\s{}$\\.,]+))|\\[\s\S]|[{}]")
BETWEEN = re.compile(r"[\s${}()\[\]\\]|text|quad|\b[a-z]\s*=")
JOINING = {"and", "or", ",", ";", ",and", ",or"}
PHRASE = re.compile(
    r"(?i)\bans(?:\.|wers?)?\b[^\n.:=$]{0,40}?(?:\bis\b|\bare\b|:|=)[\s*:]*(?=\S)|<answer>\s*"
)
SENTENCE = re.compile(r"\n|\.(?:\s|$)|\s(?:because|since|which|when|where|I hope)\b|\*\*|<[|/]")
MATH = re.compile(  # $400 + $60 is money
    r"\$\$([^$]+)\$\$|\$(?=\S)([^$\n]+)(?<=\S)\$(?!\d)|\$ ([^$\n]+) \$(?!\d)"
    r"|\\\(([^\n]+?)\\\)|\\\[(.+?)\\\]",
    re.S,
)
NUMBER = re.compile(r"-?\$?(?:\d[\d,]*\.?\d*|\.\d+)(?:/\d+|%)?")
BOLD = re.compile(r"\*\*([^*\n]*\d[^*\n]*)\*\*")
CUT_OFF = re.compile(r"[-=+/,(<>^_{\\]$|(?<!\*)\*$")


def after_thinking(text: str) -> str:
    """What follows the last </think>; nothing where a <think> is left open."""
    answer = text.rpartition("</think>")[2]
    return "" if "<think>" in answer else answer


def boxes(text: str) -> tuple[list[tuple[int, int, str]], int | None]:
    r"""(start, end, content) of each outermost \boxed or \fbox, and where one never ends begins."""
    found, open_at = [], []  # a brace that opens no box is None
    for token in BRACE.finditer(text):
        if token[1]:
            found.append((token.start(), token.end(), token[1]))
        elif token[0] == "{":
            open_at.append(None)
        elif token[0].endswith("{") and token[0] != r"\{":
            open_at.append(token.span())
        elif token[0] == "}" and open_at and (box := open_at.pop()):
            while found and found[-1][0] > box[0]:
                found.pop()
            if content := text[box[1] : token.start()].strip():
                found.append((box[0], token.end(), content))
    return found, next((box[1] for box in reversed(open_at) if box), None)


def extract_boxed(text: str) -> str | None:
    r"""The content of the last \boxed{} after the thinking; None where there is none."""
    found, _ = boxes(after_thinking(text))
    return found[-1][2] if found else None


def extract(text: str) -> tuple[str | None, str]:
    r"""(answer or None, how it was found) in a model's output; how:

    boxed       the last \boxed{}, and those before it that only "and", "or" or a comma parts
    open box    a \boxed{ that math mode ends before its brace does
    cut-off box the text ends in a \boxed{: no answer
    ####        what follows #### (GSM8K)
    phrase      what follows "answer is" or "Answer:"
    math        the last formula of the last paragraph
    number      the last number of the last line's last bold words, or else of the line; where an =
                is there, the first one after the last
    none
    """
    text = after_thinking(text)
    found, unclosed = boxes(text)
    if found and (unclosed is None or unclosed < found[-1][0]):
        answers = [found[-1]]
        for box in reversed(found[:-1]):
            if BETWEEN.sub("", text[box[1] : answers[0][0]][:80]) not in JOINING:
                break
            answers.insert(0, box)
        return ", ".join(content for _, _, content in answers), "boxed"
    if unclosed is not None:
        content = re.match(r"([^\n$]*?)\s*(?:\$|\\\)|\\\])", text[unclosed : unclosed + LONGEST])
        return (content[1], "open box") if content and content[1] else (None, "cut-off box")
    text = text[-TAIL:]
    if hashes := re.findall(r"####[ \t]*(\S[^\n]*)", text):
        return hashes[-1].strip(), "####"
    for phrase in list(PHRASE.finditer(text))[-1:]:
        rest = text[phrase.end() : phrase.end() + LONGEST]
        formula = MATH.match(rest)
        answer = "".join(filter(None, formula.groups())) if formula else SENTENCE.split(rest)[0]
        if answer.strip():
            return answer.strip(), "phrase"
    paragraph = text.rstrip().rpartition("\n\n")[2][-LONGEST:]
    if formulas := MATH.findall(paragraph):
        return "".join(formulas[-1]).strip(), "math"
    line = paragraph.rpartition("\n")[2]
    _, equals, after = (BOLD.findall(line) or [line])[-1].rpartition("=")
    numbers = NUMBER.findall(after)
    if numbers and not CUT_OFF.search(paragraph):
        return numbers[0 if equals else -1].strip(",."), "number"
    return None, "none"
