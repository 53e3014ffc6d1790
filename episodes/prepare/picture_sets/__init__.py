"""Sets of pictures with a mask file each: layouts of their folders, and the store made of them."""
