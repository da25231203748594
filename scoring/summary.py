"""One-sentence summaries against one reference: BLEU-4 as CodeXGLUE smooths it, and ROUGE-L.

bleu4("return the byte count", "return the number of bytes")    # both in [0, 1]
rouge_l("return the byte count", "return the number of bytes")
"""

import math
import re
from collections import Counter

LONGEST = 1_000  # words of a text that are compared


def bleu4(pred: str, gold: str) -> float:
    """Returns BLEU-4 (Papineni et al. 2002), smoothed as in CodeXGLUE's code-to-text.

    One is added to both counts of 2-, 3- and 4-grams (Lin and Och 2004), and to both lengths in the
    brevity penalty. Words are runs of letters and digits; every other character is a word.
    """
    word = re.compile(r"[^\W_]+|[^\s\w]|_")
    words, gold_words = (word.findall(text.lower())[:LONGEST] for text in (pred, gold))
    log_precision = 0.0
    for n in range(1, 5):
        counts, reference = ngrams(words, n), ngrams(gold_words, n)
        matched, total = sum((counts & reference).values()), sum(counts.values())
        matched, total = (matched, total) if n == 1 else (matched + 1, total + 1)
        if not total:
            continue  # an empty prediction: the brevity penalty alone
        if not matched:
            return 0.0
        log_precision += math.log(matched / total) / 4
    brevity = min(0.0, 1 - (len(gold_words) + 1) / (len(words) + 1))
    return math.exp(log_precision + brevity)


def ngrams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def rouge_l(pred: str, gold: str) -> float:
    """Returns the F1 of the longest common subsequence (Lin 2004) of ASCII words and numbers."""
    words, gold_words = (re.findall(r"[a-z0-9]+", text.lower())[:LONGEST] for text in (pred, gold))
    lengths = [0] * (len(gold_words) + 1)  # of the common subsequence with each prefix of the gold
    for word in words:
        before = 0  # lengths[i - 1] of the previous word
        for i, other in enumerate(gold_words, 1):
            longest = before + 1 if word == other else max(lengths[i], lengths[i - 1])
            before, lengths[i] = lengths[i], longest
    return 2 * lengths[-1] / (len(words) + len(gold_words)) if lengths[-1] else 0.0
