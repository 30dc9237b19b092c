/* P11: the sequence lock of native/core/share.c and v2g_cell.h, every interleaving under sequential consistency: the writer never
 * waits, a reader that says yes has an untorn copy, and its number of tries is bounded. */
#define N     3
#define TRIES 2

byte seq = 0;
byte word_a = 0, word_b = 0;

active proctype writer() {
    byte n;
    for (n : 1 .. N) {
        seq = seq + 1;
        word_a = n;
        word_b = n;
        seq = seq + 1
    }
}

active proctype reader() {
    byte tries = 0, before, a, b, last = 0, reads = 0;
    do
    :: reads < 3 ->
        tries = 0;
        do
        :: tries < TRIES ->
            before = seq;
            a = word_a;
            b = word_b;
            if
            :: (before & 1) == 0 && seq == before ->
                assert(a == b);
                assert(a >= last && a == before / 2);
                last = a;
                break
            :: else -> tries++
            fi
        :: tries == TRIES -> break
        od;
        reads++
    :: reads == 3 -> break
    od
}
