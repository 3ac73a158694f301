"""The paper's experiment: which stages, one trained from the other, and its numbers beside ours."""
