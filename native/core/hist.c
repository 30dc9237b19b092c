/* Log-linear histograms: 32 buckets per power of two, so that a bucket is 3 % wide. One writer, no locked instruction. */
#include "v2g_runtime.h"

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS, MAX_BITS = 40 };

_Static_assert(V2G_HISTOGRAM_BUCKETS == (MAX_BITS - SUB_BITS + 1) * SUB, "up to 2^40");

static uint32_t bucket_of(uint64_t value) {
    if (value < SUB)
        return (uint32_t)value;
    const uint32_t top = 63U - (uint32_t)__builtin_clzll(value); /* >= SUB_BITS */
    return (top - SUB_BITS + 1) * SUB + ((uint32_t)(value >> (top - SUB_BITS)) & (SUB - 1));
}

static void add(V2G_ATOMIC(uint64_t) * word, uint64_t amount) {
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + amount, memory_order_relaxed);
}

void v2g_histogram_add(struct v2g_histogram *histogram, int64_t value_ns) {
    const uint64_t top = (1ULL << MAX_BITS) - 1;
    uint64_t value = value_ns < 0 ? 0 : (uint64_t)value_ns;
    if (value > top)
        value = top;
    add(&histogram->bucket[bucket_of(value)], 1);
    add(&histogram->sum, value);
    if (value > atomic_load_explicit(&histogram->max, memory_order_relaxed))
        atomic_store_explicit(&histogram->max, value, memory_order_relaxed);
    add(&histogram->count, 1);
}
