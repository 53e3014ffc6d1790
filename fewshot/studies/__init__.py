"""What a learner class may offer for studies: ablation rows, explanations, layouts of papers."""
