#include "sender.h"

#include <errno.h>
#include <pthread.h>

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(((struct v2g_arena *)0)->sender), "the lock fits into the arena");

static pthread_mutex_t *lock_of(struct v2g_arena *arena) {
    return (pthread_mutex_t *)(void *)arena->sender;
}

int sender_init(struct v2g_arena *arena) {
    pthread_mutexattr_t attr;
    int error = pthread_mutexattr_init(&attr);
    if (error != 0)
        return error;
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    error = pthread_mutex_init(lock_of(arena), &attr);
    pthread_mutexattr_destroy(&attr);
    return error;
}

bool sender_take(struct v2g_arena *arena) {
    const int result = pthread_mutex_trylock(lock_of(arena));
    if (result == EOWNERDEAD)
        pthread_mutex_consistent(lock_of(arena));
    return result == 0 || result == EOWNERDEAD;
}

void sender_leave(struct v2g_arena *arena) {
    pthread_mutex_unlock(lock_of(arena));
}
