"""The epochs of a round: its inputs, the loop, what is saved and resumed, and what is logged."""
