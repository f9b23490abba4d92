"""Implementations of evolving attention beside the reference; none imports another.

A backend's module can be imported on any machine, without the engine it needs (Triton, a
compiler). It has three functions. All take the arguments of the reference,
``(query_BHNE, key_BHME, value_BHMV, previous_map, weight, bias, *, alpha, beta, activation, window,
mask, map_bias, scale, dropout)``, checked, with ``scale`` a number and ``dropout`` 0 outside
training:

``attend(...)``
    Return the output and the map. ``evolving_attention`` calls it only where nothing is refused.
    With ``overwrite=True``, which only a backend registered as one that overwrites is given, and
    only without gradients, the new map may take the previous one's memory.
``refusal(...)``
    Return None, or a sentence that says why these arguments cannot be taken.
``drawback(...)``
    Return None, or a sentence that says why ``"auto"`` had better choose another backend.

It may have a fourth, ``normalize(map_BHNM, mask, eps)``, that does what ``normalize_map`` does, or
returns None where it does not.

:data:`evolving_attention.attention.backends.BACKENDS` registers them.
"""
