"""Q-Net: its learner and the refinement of its prototypes."""

from baselines.qnet.model import QNet as QNet
