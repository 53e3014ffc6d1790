"""`fewshot doctor`: the installation, every file of a work folder, and the seals of older work folders."""
