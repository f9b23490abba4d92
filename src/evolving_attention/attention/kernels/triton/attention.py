"""The kernels of the forward pass through products and softmax.

``reach_kernel`` finds where each query's keys end, so that tiles beyond are skipped (half of a
causal map). ``attend_kernel`` takes softmax and values, and makes the map itself where nothing is
convolved; a program owns some rows of one head's map.

Letters as in :mod:`evolving_attention.attention.functional`.
"""

import triton
import triton.language as tl

from evolving_attention.attention.kernels.triton.tiles import (
    attendable,
    dropped,
    mix,
    multiply,
    read,
    read_float,
    write,
)


@triton.jit
def reach_kernel(mask, reach, N, M, HEADS, COLUMNS: tl.constexpr):
    """Write for a row of the mask the number of columns up to the last that is attended."""
    row = tl.program_id(0) % N
    batch = tl.program_id(0) // N // HEADS
    head = tl.program_id(0) // N % HEADS
    columns = tl.arange(0, COLUMNS)
    last = tl.zeros([COLUMNS], tl.int32)
    for start in range(0, M, COLUMNS):
        column = start + columns
        allowed = attendable(mask, batch, head, row, column, column < M)
        last = tl.maximum(last, tl.where(allowed, column + 1, 0))
    tl.store(reach + tl.program_id(0), tl.max(last, axis=0))


@triton.jit
def attend_kernel(
    query,
    key,
    value,
    previous_map,
    map_bias,
    mask,
    reach,
    shares,
    own_map,
    seed,
    output,
    normalizer,
    scale,
    dropout,
    H,
    N,
    M,
    E,
    V,
    MAKES_MAP: tl.constexpr,
    E_WIDTH: tl.constexpr,
    V_WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write some rows of a head's output, and of its map where nothing is convolved."""
    tiles = tl.cdiv(N, ROWS)
    batch_head = tl.program_id(0) // tiles
    batch, head = batch_head // H, batch_head % H
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row = rows[:, None]
    across = tl.arange(0, V_WIDTH)[None, :]
    alpha = tl.load(shares)
    stop = M
    if mask is not None:
        stop = tl.max(read(reach, batch, head, rows, 0, rows < N), 0)
    if MAKES_MAP:
        within = tl.arange(0, E_WIDTH)
        query_tile = read(
            query, batch, head, row, within[None, :], (row < N) & (within < E)[None, :]
        )
    highest = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, V_WIDTH], tl.float32)

    for start in range(0, stop, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        column = columns[None, :]
        inside = (row < N) & (column < M)
        allowed = attendable(mask, batch, head, row, column, inside)
        if MAKES_MAP:
            key_inside = (within < E)[:, None] & (column < M)
            key_tile = read(key, batch, head, column, within[:, None], key_inside)
            none = tl.zeros([ROWS, COLUMNS], tl.float32)
            logits = scale * multiply(query_tile, key_tile, none, OPERAND, PRECISION)
            logits = mix(logits, previous_map, map_bias, alpha, batch, head, row, column, allowed)
            logits = logits.to(own_map[0].dtype.element_ty)  # the backward pass reads it so
            write(own_map, batch, head, row, column, logits, inside)
            logits = logits.to(tl.float32)
        else:
            logits = read_float(own_map, batch, head, row, column, inside)
        logits = tl.where(allowed, logits, float("-inf"))
        new_highest = tl.maximum(highest, tl.max(logits, 1))
        finite = tl.where(new_highest == float("-inf"), 0.0, new_highest)  # nothing yet: no NaN
        shares_tile = tl.exp(logits - finite[:, None])
        shrink = tl.exp(highest - finite)
        total = total * shrink + tl.sum(shares_tile, 1)
        shares_tile = dropped(shares_tile, seed, dropout, batch_head, row, column, M)
        value_inside = (columns < M)[:, None] & (across < V)
        value_tile = read(value, batch, head, columns[:, None], across, value_inside)
        sums = multiply(shares_tile, value_tile, sums * shrink[:, None], OPERAND, PRECISION)
        highest = new_highest

    total_or_one = tl.where(total > 0, total, 1.0)
    finite = tl.where(total > 0, highest, 0.0)
    write(output, batch, head, row, across, sums / total_or_one[:, None], (row < N) & (across < V))
    place = tl.cast(batch_head, tl.int64) * N + rows
    tl.store(normalizer + place, finite + tl.log(total_or_one), mask=rows < N)
    if MAKES_MAP:
        for start in range(tl.cdiv(stop, COLUMNS) * COLUMNS, M, COLUMNS):
            column = start + tl.arange(0, COLUMNS)[None, :]
            write(own_map, batch, head, row, column, 0.0, (row < N) & (column < M))
