"""The layouts of original downloads, one file each."""
