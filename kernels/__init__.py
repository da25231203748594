"""The hot spots of a training step, each as plain torch: the twin a fused kernel is held against."""

from kernels.attention import Documents, attention
from kernels.linear_cross_entropy import linear_cross_entropy

__all__ = ["Documents", "attention", "linear_cross_entropy"]
