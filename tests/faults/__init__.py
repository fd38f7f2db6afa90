"""The fault suite: what the embedding store survives, one file a check, and a count of what was lost.

Every check is a function ``run(count, seed)`` that returns its `figures.Figures`. ``make faults`` runs them all at
full size; ``tests/test_faults.py`` runs a short sample of each, and sabotages the store to see that it is caught.
"""
