"""`python -m delivery connect` and `doctor`: from two empty projects to the first delivery.

resources.py lists what is wanted, in order; plan.py looks at all of it at once; connect.py makes
what is missing, or undoes it; doctor.py says what is wrong. Nothing is remembered between two runs:
what there is, is read each time.
"""
