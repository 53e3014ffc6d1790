"""RPT: its learner, attention and losses."""

from baselines.rpt.model import RPT as RPT
