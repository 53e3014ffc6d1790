"""`python -m fewshot` is the `fewshot` command."""

import sys

from fewshot.commands.main import main

sys.exit(main())
