"""The learner contract and what learners are made of: options, recipes, prototypes, the registry."""
