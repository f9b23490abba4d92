"""What the kernels share: reading and writing tiles, the mix, dropout, the convolution of a tile.

A tensor comes into a kernel as a *view*, the tuple ``(pointer, *strides)``, or as None; a tile's
place is given by batch, head, row and column, each a number or a tensor that broadcasts with the
others. Offsets within a sample have 32 bits, which spares registers; only the batch may be larger.
"""

import triton
import triton.language as tl


@triton.jit
def places(view, batch, head, row, column):
    """Return pointers to the entries of a view."""
    return (view[0] + tl.cast(batch, tl.int64) * view[1]) + (
        head * view[2] + row * view[3] + column * view[4]
    )


@triton.jit
def read(view, batch, head, row, column, inside):
    """Read a tile in its own type, 0 outside."""
    return tl.load(places(view, batch, head, row, column), mask=inside, other=0)


@triton.jit
def read_float(view, batch, head, row, column, inside):
    """Read a tile as float32, 0 outside."""
    return read(view, batch, head, row, column, inside).to(tl.float32)


@triton.jit
def write(view, batch, head, row, column, tile, inside):
    """Write a tile where it is inside."""
    tl.store(places(view, batch, head, row, column), tile, mask=inside)


@triton.jit
def attendable(mask, batch, head, row, column, inside):
    """Return where a query may attend to a key."""
    if mask is not None:
        inside = inside & (read(mask, batch, head, row, column, inside) != 0)
    return inside


@triton.jit
def multiply(left, right, sums, OPERAND: tl.constexpr, PRECISION: tl.constexpr):
    """Add a matrix product to ``sums``."""
    return tl.dot(left.to(OPERAND), right.to(OPERAND), sums, input_precision=PRECISION)


@triton.jit
def blend(own, other, share):
    """Return ``torch.lerp(own, other, share)``: exactly ``own`` where both are equal."""
    step = other - own
    return tl.where(share < 0.5, own + share * step, other - (1 - share) * step)


@triton.jit
def mix(logits, previous_map, map_bias, alpha, batch, head, row, column, allowed):
    """Return the layer's logits with their bias, mixed with the previous map, 0 where masked."""
    if map_bias is not None:
        logits += read_float(map_bias, batch, head, row, column, allowed)
    if previous_map is not None:
        logits = blend(logits, read_float(previous_map, batch, head, row, column, allowed), alpha)
    return tl.where(allowed, logits, 0.0)


@triton.jit
def dropped(tile, seed, dropout, batch_head, row, column, M):
    """Drop entries of a tile and scale the others; which ones depends on their place alone."""
    if seed is not None:
        place = tl.cast(row, tl.int32) * M + tl.cast(column, tl.int32)
        zero = place * 0
        random, _, _, _ = tl.philox(
            tl.load(seed), place, zero + tl.cast(batch_head, tl.int32), zero, zero
        )
        kept = tl.uint_to_uniform_float(random) >= dropout
        tile = tl.where(kept, tile / tl.maximum(1 - dropout, 1e-30), 0.0)
    return tile


@triton.jit
def softmax_gradient(
    products, own_map, own_gradient, normalizer, overlap, seed, dropout, batch, head, H, N, M, row,
    column, allowed,
):  # fmt: skip
    """Return the gradient of the map, from ``products`` of the output's gradient and the values."""
    place = (tl.cast(batch, tl.int64) * H + head) * N + row
    inside = (row >= 0) & (row < N) & (head < H)
    shares = tl.exp(
        read_float(own_map, batch, head, row, column, allowed)
        - tl.load(normalizer + place, mask=inside, other=0)
    )
    products = dropped(products, seed, dropout, batch * H + head, row, column, M)
    gradient = shares * (products - tl.load(overlap + place, mask=inside, other=0))
    if own_gradient is not None:
        gradient += read_float(own_gradient, batch, head, row, column, allowed)
    return tl.where(allowed, gradient, 0.0)


@triton.jit
def products_by_head(
    left,
    right,
    batch,
    head,
    row,
    column,
    inside_rows,
    inside_columns,
    WIDTH,
    SLICE: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return ``left @ right^T`` for a few heads, ``[heads, rows, columns]``.

    Both are read in slices of their width, which bounds the shared memory for wide heads.
    """
    heads: tl.constexpr = head.shape[0]
    sums = tl.zeros([heads, row.shape[1], column.shape[2]], tl.float32)
    for start in range(0, WIDTH, SLICE):
        across = start + tl.arange(0, SLICE)[None, None, :]
        down = start + tl.arange(0, SLICE)[None, :, None]
        left_tile = read(left, batch, head, row, across, inside_rows & (across < WIDTH))
        right_tile = read(right, batch, head, column, down, inside_columns & (down < WIDTH))
        sums = multiply(left_tile, right_tile, sums, OPERAND, PRECISION)
    return sums


@triton.jit
def scratch_places(plane, row, column, head, COLUMNS: tl.constexpr, HEADS: tl.constexpr):
    """Return pointers into a plane of scratch memory, ``[rows, 2 * COLUMNS, HEADS]``.

    Columns go round: a plane holds the last two tiles. The heads of an entry lie together, so that
    a tile shifted by an entry is read as fast as any.
    """
    return plane + (row * (2 * COLUMNS) + (column & (2 * COLUMNS - 1))) * HEADS + head


@triton.jit
def neighbours(
    plane,
    chunk,
    row,
    column,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Return for each pixel what a part of its window holds, ``[pixels, DEPTH]``.

    ``row`` and ``column`` are the window's first, in rows of the scratch and columns of the map.
    A part is one neighbour with all its heads or, where heads are few, several neighbours.
    """
    inner = tl.arange(0, DEPTH)[None, :]
    neighbour = chunk * (DEPTH // HEADS) + inner // HEADS
    row = row[:, None] + neighbour // K
    column = column[:, None] + neighbour % K
    inside = (neighbour < K * K) & (row < ROWS) & (column >= 0)
    pointers = scratch_places(plane, row, column, inner % HEADS, COLUMNS, HEADS)
    return tl.load(pointers, mask=inside, other=0)
