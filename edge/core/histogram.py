"""The core's log-linear histograms: 32 buckets per power of two, so that a bucket is 3 % wide, up to 2^40 ns."""

from __future__ import annotations

from dataclasses import dataclass

SUB_BITS = 5
SUB = 1 << SUB_BITS


def bucket_low(index: int) -> int:
    """Smallest value of a bucket, ns."""
    block, sub = divmod(index, SUB)
    return index if block == 0 else (SUB + sub) << (block - 1)


def bucket_high(index: int) -> int:
    """Largest value of a bucket, ns."""
    return bucket_low(index + 1) - 1


@dataclass(frozen=True, slots=True)
class Histogram:
    """Times in ns since the core was made."""

    count: int
    sum_ns: int
    max_ns: int
    counts: tuple[int, ...]

    def percentile(self, percent: float) -> int:
        """The value below or at which `percent` of all lie, ns, rounded up by at most 3 %; 0 when there is none."""
        total = sum(self.counts)
        wanted = max(1.0, total * percent / 100)
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(bucket_high(index), self.max_ns)
        return 0

    def since(self, earlier: Histogram) -> Histogram:
        """What was added after `earlier`; `max_ns` stays that of all."""
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        return Histogram(self.count - earlier.count, self.sum_ns - earlier.sum_ns, self.max_ns, counts)
