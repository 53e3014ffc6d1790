"""Optional members of a learner class for studies: ablation rows, an explanation, a paper's layout."""
