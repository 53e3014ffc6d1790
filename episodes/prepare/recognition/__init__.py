"""Recognition of common folder layouts, as a draft of the facts of a dataset for its user to mend."""
