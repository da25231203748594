"""The hot spots of a training step, each as plain torch: the twin of a fused kernel."""

from kernels.attention import Documents, attention
from kernels.linear_cross_entropy import linear_cross_entropy

__all__ = ["Documents", "attention", "linear_cross_entropy"]
