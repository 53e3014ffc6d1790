"""The learner contract and the parts of learners: options, recipes, prototypes, the registry."""
