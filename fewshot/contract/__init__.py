"""The learner contract as checks: `check_method` tests a learner class and returns one result a check."""

from fewshot.contract.checks import CheckResult as CheckResult
from fewshot.contract.checks import check_method as check_method
