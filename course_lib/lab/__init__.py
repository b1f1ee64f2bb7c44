"""Measure and show: what a notebook needs besides its subject. Knows nothing of exercises.

`timing` and `memory` measure a function, `bandwidth` and `machine` the machine it ran on; `plots` and
`picture` show the result in the course's one `style`; `progress` says how long a long cell will still take.

Import from the modules: a reader then sees where a function comes from, and whoever needs no figure
does not wait for matplotlib.
"""
