"""Mathematical answers: whether two of them mean the same, and the box that states one.

equivalent("0.5", r"\\dfrac{1}{2}")                            # True
equivalent(r"x=2 \\text{ or } x=3", "3, 2")                   # True
extract_boxed(r"So it is $\\boxed{\\frac12}$.")                # "\\\\frac12"
"""

from scoring.latex.equal import equivalent
from scoring.stated import extract_boxed

__all__ = ["equivalent", "extract_boxed"]
