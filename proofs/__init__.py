"""The proofs: a real Postroom that is tormented, and what its recipients, its gateway and its ledger say afterwards.

`make prove` runs them all; `python -m proofs kills --seed 7` one of them, again. Each module has one coroutine
`prove(scale, seed, say) -> Verdict`, told what it draws at random by its seed. The short ones are part of the test suite.
"""
