"""GMRD: its learner, descriptors and losses."""

from baselines.gmrd.model import GMRD as GMRD
