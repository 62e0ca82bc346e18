# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Proximal operators of morphologies, in place (see operators.py, which checks every size and index).

The exact projection is isotonic regression on a rooted tree: from the leaves to the root every pixel becomes a block,
which swallows the largest of the blocks below it for as long as that is larger than itself (Thompson 1962; Pardalos &
Xue 1999). The blocks below a block are a pairing heap, so n pixels take of the order of n log n operations.
"""

from libc.math cimport fabs


def clip_negative(double[::1] x):
    """max(x, 0)."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            if not x[i] > 0.:
                x[i] = 0.


def symmetrise(double[::1] x, double strength):
    """Move every pixel towards the mean of itself and its opposite; opposites are i and n - 1 - i."""
    cdef Py_ssize_t i, n = x.shape[0]
    cdef double half
    with nogil:
        for i in range(n // 2):
            half = 0.5 * strength * (x[n - 1 - i] - x[i])
            x[i] += half
            x[n - 1 - i] -= half


def soft_threshold(double[::1] x, double threshold):
    """sign(x) max(|x| - threshold, 0)."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            if x[i] > threshold:
                x[i] -= threshold
            elif x[i] < -threshold:
                x[i] += threshold
            else:
                x[i] = 0.


def hard_threshold(double[::1] x, double threshold):
    """x where |x| > threshold, else 0."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            if fabs(x[i]) <= threshold:
                x[i] = 0.


def sweep(double[::1] x, const int[::1] order, const int[::1] first, const int[::1] neighbours,
          const double[::1] weights):
    """From the centre outwards, bring each pixel down to the weighted mean of its inner neighbours.

    Those of pixel i are neighbours[first[i]:first[i + 1]].
    """
    cdef Py_ssize_t k
    cdef int i, j
    cdef double limit
    with nogil:
        for k in range(1, order.shape[0]):
            i = order[k]
            limit = 0.
            for j in range(first[i], first[i + 1]):
                limit += weights[j] * x[neighbours[j]]
            if x[i] > limit:
                x[i] = limit


cdef struct Heap:           # all heaps of blocks at once; -1 stands for none
    const double* key       # mean of a block
    int* child              # its first child in the heap it is in
    int* sibling            # the next child of the same parent there


cdef inline int link(Heap heap, int a, int b) noexcept nogil:
    """One heap of two, by their roots; the larger key goes up."""
    cdef int other
    if a < 0:
        return b
    if b < 0:
        return a
    if heap.key[b] > heap.key[a]:
        other = a
        a = b
        b = other
    heap.sibling[b] = heap.child[a]
    heap.child[a] = b
    return a


cdef int without_root(Heap heap, int root) noexcept nogil:
    """The heap of a root's children: linked in pairs, then pair by pair from the last."""
    cdef int a, b, rest, pairs = -1, result = -1
    rest = heap.child[root]
    while rest >= 0:
        a = rest
        b = heap.sibling[a]
        rest = heap.sibling[b] if b >= 0 else -1
        a = link(heap, a, b)
        heap.sibling[a] = pairs         # the pairs so far, the last one first
        pairs = a
    while pairs >= 0:
        rest = heap.sibling[pairs]
        result = link(heap, result, pairs)
        pairs = rest
    return result


def project_tree(double[::1] x, const int[::1] order, const int[::1] parent, double[::1] total, double[::1] mean,
                 int[:, ::1] scratch):
    """Closest x with x[i] <= x[parent[i]]; `order` has every parent before its children, the root first.

    `total` and `mean` (n,) and `scratch` (5, n) are overwritten.
    """
    cdef Py_ssize_t k, n = x.shape[0]
    cdef int i, top, below
    cdef int* size = &scratch[0, 0]
    cdef int* heap_of = &scratch[1, 0]      # root of the heap of the blocks below a block
    cdef int* into = &scratch[2, 0]         # the block that swallowed a block
    cdef Heap heap
    heap.key = &mean[0]
    heap.child = &scratch[3, 0]
    heap.sibling = &scratch[4, 0]
    with nogil:
        for k in range(n):
            total[k] = mean[k] = x[k]
            size[k] = 1
            heap_of[k] = into[k] = heap.child[k] = heap.sibling[k] = -1
        for k in range(n - 1, -1, -1):
            i = order[k]
            top = heap_of[i]
            while top >= 0 and mean[top] > mean[i]:
                below = without_root(heap, top)
                total[i] += total[top]
                size[i] += size[top]
                mean[i] = total[i] / size[i]
                into[top] = i
                top = link(heap, below, heap_of[top])
            heap_of[i] = top
            if k > 0:
                heap.child[i] = heap.sibling[i] = -1
                heap_of[parent[i]] = link(heap, heap_of[parent[i]], i)
        for k in range(n):
            i = order[k]
            x[i] = mean[i] if into[i] < 0 else x[into[i]]
