"""Mixed traffic with faults, reloads and killed workers, and a look at what they leave behind.

`python -m tests.soak --minutes 10` is the long version; a short one is among the tests. Three acts:

- calm: only the store has faults. No request may fail, and workers must not grow.
- reloads: a new generation every few seconds. Only a kept connection may end before it is used.
- kills: also workers are killed. Whoever is cut tries again, and must succeed then.
"""
