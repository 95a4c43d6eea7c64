"""A history checker: under faults, clients write down what they asked and were answered; pure functions judge it later.

`operations` is the form of a history, `check` judges one, `workers` and `rounds` make one, `faults` disturbs them.
"""
