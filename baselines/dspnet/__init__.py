"""DSPNet: its learner, modules, explanation and published numbers."""

from baselines.dspnet.model import DSPNet as DSPNet
