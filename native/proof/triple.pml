/* P11: the triple buffer of native/core/share.c, every interleaving under sequential consistency. One slot is two words, so that a torn
 * read would show. The writer publishes 1…N, the reader takes whenever it likes; both only ever exchange the middle index. */
#define N   4
#define NEW 4

byte middle = 1;
byte word_a[3], word_b[3];
byte published = 0;

active proctype writer() {
    byte back = 0, was, n;
    for (n : 1 .. N) {
        word_a[back] = n;
        word_b[back] = n;
        atomic { was = middle; middle = back | NEW; published = n } /* v2g_triple_publish: one exchange */
        back = was & 3;
        assert(back < 3);
    }
}

active proctype reader() {
    byte front = 2, was, a, b, last = 0, newest;
    do
    :: last < N ->
        newest = published;
        if
        :: (middle & NEW) == 0 ->
            assert(last >= newest || newest == 0) /* nothing new: what was published before has been seen */
        :: (middle & NEW) != 0 ->
            atomic { was = middle; middle = front } /* v2g_triple_take */
            front = was & 3;
            a = word_a[front];
            b = word_b[front];
            assert(a == b);      /* not torn */
            assert(a > last);    /* never the same or an older one again */
            assert(a >= newest); /* the newest is not lost */
            last = a
        fi
    :: last == N -> break
    od
}
