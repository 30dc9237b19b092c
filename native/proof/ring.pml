/* P11: the ring of events of native/core/share.c with two places and wrapping counters, every interleaving under sequential
 * consistency: what is read comes in order and whole; what does not fit is counted as dropped, never overwrites. */
#define PLACES 2
#define N      5

byte place_a[PLACES], place_b[PLACES];
byte head = 254, tail = 254;
byte dropped = 0;
bool done = false;

active proctype writer() {
    byte n;
    for (n : 1 .. N) {
        byte used = head - tail;
        if
        :: used >= PLACES -> dropped++
        :: else ->
            place_a[head % PLACES] = n;
            place_b[head % PLACES] = n;
            head = head + 1
        fi
    }
    done = true
}

active proctype reader() {
    byte now, last = 0, got = 0;
    do
    :: tail != head ->
        now = place_a[tail % PLACES];
        assert(place_b[tail % PLACES] == now);
        assert(now > last);
        last = now;
        got++;
        tail = tail + 1
    :: done && tail == head -> break
    od;
    assert(got + dropped == N)
}
