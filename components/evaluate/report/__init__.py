"""Numbers for people: the page, its pictures and words, the story in the terminal, and the comparison of runs."""
