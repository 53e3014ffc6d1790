"""Comparisons: two methods, two protocols, the modules of one method, features before and after training."""
